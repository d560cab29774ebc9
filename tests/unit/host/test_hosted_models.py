"""A worker whose models are a host's: the same vectors under the same keys, and nothing loaded."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hosts import LocalHost, Worker
from support.light import LightModel, vector_of
from support.models import tiny_bert

from pytest_embedcache import ModelSpec, notices
from pytest_embedcache.errors import HostError, RealModelError
from pytest_embedcache.models import background, defaults
from pytest_embedcache.models.host.wire import pack_texts
from pytest_embedcache.vectors.api import cached_model
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.policy import Policy

MakeWorker = Callable[..., Worker]
TEXTS = ["a cat", "a kitten", "", "revenue", "a \ud800 surrogate"]


def expected(path: Path, texts: list[str]) -> np.ndarray:
    return np.stack([vector_of(path, text) for text in texts])


def test_vectors_and_keys_are_those_that_the_worker_would_have_made(
    host: LocalHost, worker: MakeWorker, bert: Path
) -> None:
    """Bytes and keys equal those of a worker alone; the host loads once for two workers, and they
    load nothing."""
    alone = Worker()
    one, other = worker(), worker()
    right = alone.model(bert).encode(TEXTS)
    for mine in (one, other):
        found = mine.model(bert).encode(TEXTS)
        assert np.array_equal(found, right)
        assert mine.model(bert).keys(TEXTS) == alone.model(bert).keys(TEXTS)
        assert np.array_equal(mine.model(bert).encode(TEXTS), right)
    assert (alone.loads, one.loads, other.loads) == (1, 0, 0)
    assert host.registry.stats().loads == 1
    assert (one.link.asked, other.link.asked) == (len(TEXTS), len(TEXTS))
    assert host.stats["asked"] == {"gw0": 2 * len(TEXTS)}
    assert notices.counts() == {}


def test_the_host_looks_once_which_model_it_is(
    host: LocalHost, worker: MakeWorker, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files that are as they were, a second worker's word is enough."""
    asked: list[ModelSpec] = []
    identify = host.registry.identify
    monkeypatch.setattr(
        host.registry, "identify", lambda spec: asked.append(spec) or identify(spec)
    )
    for text in ("a cat", "a dog"):
        assert np.array_equal(worker().model(bert).encode([text]), expected(bert, [text]))
    assert len(asked) == 1


def test_the_store_answers_before_the_host(host: LocalHost, worker: MakeWorker, bert: Path) -> None:
    """Where every vector is found no host is even looked for."""
    first = worker()
    first.model(bert).encode(TEXTS)
    second = worker(start=lambda: pytest.fail("a host was started"))
    second.cache = first.cache
    assert np.array_equal(second.model(bert).encode(TEXTS), expected(bert, TEXTS))
    assert second.link.pid is None
    assert host.stats["asked"] == {"gw0": len(TEXTS)}


def test_a_lost_host_costs_a_warning_and_no_vector(
    host: LocalHost, worker: MakeWorker, bert: Path
) -> None:
    """After it is gone the worker loads once, says so once, and never asks for it again."""
    mine = worker()
    mine.model(bert).encode(["a cat"])
    host.hang_up()
    texts = ["a cat", "b", "c"]
    assert np.array_equal(mine.model(bert).encode(texts), expected(bert, texts))
    assert mine.model(bert).encode(["d"]).shape == (1, 16)
    assert (mine.loads, mine.link.lost) == (1, True)
    assert list(notices.counts().values()) == [1]
    assert "the model host is of no use" in next(iter(notices.counts()))


def test_files_that_change_are_another_model_for_the_host_too(
    host: LocalHost, worker: MakeWorker, tmp_path: Path, bert: Path
) -> None:
    """Weights that are swapped after the load: no vector of the old ones is given for the new."""
    mine = worker()
    mine.model(bert).encode(["a cat"])
    old = vector_of(bert, "a dog")
    shutil.copy(tiny_bert(tmp_path / "new", seed=1) / "model.safetensors", bert)
    other = worker()
    found = other.model(bert).encode(["a dog"])
    assert np.array_equal(found[0], vector_of(bert, "a dog"))
    assert not np.array_equal(found[0], old)
    # Who was there before has the old model under its old keys, as with one of his own.
    assert np.array_equal(mine.model(bert).encode(["a dog"])[0], old)


def test_files_that_change_before_the_first_text_have_a_key_of_their_own(
    host: LocalHost, worker: MakeWorker, tmp_path: Path, bert: Path
) -> None:
    """The model was asked for, then its weights were swapped: their vector is not stored under the
    old fingerprint."""
    mine = worker()
    model = mine.model(bert)
    before = model.fingerprint
    shutil.copy(tiny_bert(tmp_path / "new", seed=1) / "model.safetensors", bert)
    assert np.array_equal(model.encode(["a dog"])[0], vector_of(bert, "a dog"))
    assert model.fingerprint == Worker().model(bert).fingerprint != before
    assert mine.cache.store is not None
    assert mine.cache.store.clear(before) == 0
    assert mine.cache.store.clear(model.fingerprint) == 1
    assert (mine.loads, host.registry.stats().loads) == (0, 1)


def test_a_ticket_is_for_one_model_and_its_files(
    host: LocalHost, worker: MakeWorker, bert: Path
) -> None:
    """The host refuses another fingerprint or signature, and a ticket that it did not give."""
    mine = worker()
    assert mine.link.find()
    spec = mine.registry.resolve(ModelSpec(str(bert), device="cpu"))
    identity = mine.registry.identify(spec)
    told = {
        name: getattr(spec, name)
        for name in ("name", "revision", "backend", "form", "device", "dtype", "path")
    } | {"trust_remote_code": False, "cache_folder": None}
    right = {"fingerprint": identity.fingerprint, "signature": identity.signature}
    for wrong in ({"fingerprint": "0" * 64}, {"signature": "0" * 64}, {"signature": None}):
        with pytest.raises(HostError, match="not those that the worker sees"):
            mine.link.ask({"do": "open", "spec": told, **right, **wrong})
    with pytest.raises(HostError, match="without code of their own"):
        mine.link.ask({"do": "open", "spec": told | {"trust_remote_code": True}, **right})
    lengths, payload = pack_texts(["a"])
    asked = {"do": "encode", "ticket": "x", "lengths": lengths, "options": {}, "worker": "w"}
    with pytest.raises(HostError, match="not opened"):
        mine.link.ask(asked, payload)
    assert host.registry.stats().loads == 0
    assert not mine.link.lost


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.encode(["a"], output_value="token_embeddings"),
        lambda m: m.encode(["a"], some_argument=3),
        lambda m: m.encode([("a", "b")]),
        lambda m: m.unwrap().encode(["a"]),
        lambda m: m[0],
        lambda m: setattr(m, "max_seq_length", 8),
    ],
    ids=["tokens", "unknown argument", "a pair", "unwrap", "a module", "state"],
)
def test_what_needs_the_model_itself_loads_it_here(
    worker: MakeWorker, bert: Path, call: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One load in this process, no complaint about the host, and right vectors afterwards."""
    mine = worker()
    model = mine.model(bert)
    model.encode(["a cat"])
    assert mine.loads == 0
    with np.errstate(all="ignore"):
        try:
            call(model)
        except (KeyError, TypeError, AssertionError):
            pass  # the light model knows less than a real one
    assert (mine.loads, mine.link.lost) == (1, False)
    assert np.array_equal(model.encode(["a dog"]), expected(bert, ["a dog"]))
    assert not any("the model host" in notice for notice in notices.counts())


def test_a_registry_gives_the_model_itself(worker: MakeWorker, bert: Path) -> None:
    """`ModelRegistry.get` and a handle's `get` give one loaded in this process."""
    mine = worker()
    model = mine.model(bert)
    model.encode(["a cat"])
    bare = mine.registry.get(model.spec)
    assert bare.weights
    assert mine.registry.handle(model.spec).get() is bare
    assert mine.loads == 1


def test_live_vectors_come_from_the_host_as_well(
    host: LocalHost, worker: MakeWorker, bert: Path
) -> None:
    """Without a store each call is computed there, a single text and several."""
    mine = worker()
    model = cached_model(mine.registry, VectorCache(None), ModelSpec(str(bert), device="cpu"))
    assert np.array_equal(model.encode("a cat"), vector_of(bert, "a cat"))
    for _ in range(2):
        assert np.array_equal(model.encode(["a cat", "b"]), expected(bert, ["a cat", "b"]))
    assert (mine.loads, mine.link.asked) == (0, 5)
    assert host.stats["batches"][0]["encoded"] == 5


def test_the_models_own_error_is_the_workers(
    host: LocalHost, worker: MakeWorker, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `ValueError` of the model has its class and words; nothing is loaded, nothing is lost."""

    def fail(self: object, inputs: object, **options: object) -> None:
        raise ValueError("no such text")

    mine = worker()
    mine.model(bert).encode(["a cat"])
    monkeypatch.setattr(LightModel, "encode", fail)
    with pytest.raises(ValueError, match=r"^no such text$"):
        mine.model(bert).encode(["b"])
    assert (mine.loads, mine.link.lost) == (0, False)


def test_a_forbidden_model_is_not_asked_for_either(
    host: LocalHost, worker: MakeWorker, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`no_models` holds for what a host has: the error comes before the question."""

    def refuse(spec: ModelSpec) -> None:
        if threading.current_thread() is threading.main_thread():  # the host's are others
            raise RealModelError(spec.name, "a test", "a load", "It is forbidden.")

    mine = worker()
    model = mine.model(bert)
    monkeypatch.setattr(defaults, "refuse", refuse)
    with pytest.raises(RealModelError):
        model.encode(["a cat"])
    assert host.registry.stats().loads == 0


def test_preloading_readies_the_host(host: LocalHost, worker: MakeWorker, bert: Path) -> None:
    """`ensure_loaded` and a start in a thread load there and not here."""
    mine, other = worker(), worker()
    mine.model(bert).ensure_loaded()
    assert (host.registry.stats().loads, mine.loads) == (1, 0)
    other.model(bert).start_loading()
    assert background.wait(30)
    assert (host.registry.stats().loads, other.loads) == (1, 0)


def test_recordings_are_computed_in_the_worker(worker: MakeWorker, bert: Path) -> None:
    """A policy whose vectors have to be this process's own asks no host."""

    class Here(Policy):
        here = True

    mine = worker()
    mine.cache.policy = Here()
    assert np.array_equal(mine.model(bert).encode(["a"]), expected(bert, ["a"]))
    assert (mine.loads, mine.link.asked) == (1, 0)


def test_many_texts_and_threads(host: LocalHost, worker: MakeWorker, bert: Path) -> None:
    """Eight threads of one worker, a connection each: every row is its text's."""
    mine = worker()
    model = mine.model(bert)
    model.encode(["warm"])
    asked = [[f"text {(n * 5 + i) % 60}" for i in range(7)] for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model.encode, asked))
    for rows, texts in zip(found, asked, strict=True):
        assert np.array_equal(rows, expected(bert, texts))
    assert mine.loads == 0
