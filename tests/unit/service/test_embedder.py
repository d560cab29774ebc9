"""`EmbedderService`: the right vectors, each computed once, whatever goes wrong."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.encoders import right, world
from support.serving import Serving, eventually, serving
from support.toys import DEADLOCK, Gate

from pytest_embedcache import ModelRegistry
from pytest_embedcache.errors import (
    EncodeError,
    ServiceClosedError,
    SettingsError,
    UnknownModelError,
)
from pytest_embedcache.models.idle import IdleUnloader
from pytest_embedcache.service.embedder import (
    EmbedderService,
    SyncEmbedder,
    get_embedder_service,
    swap_embedder_service,
)


@pytest.fixture
def s(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as found:
        yield found


def gated(s: Serving) -> Gate:
    """The model, loaded, whose calls stand at a gate."""
    gate = Gate()
    s.w.inner().before = gate
    return gate


# ----------------------------------------------------------------------------------- vectors


def test_row_i_is_the_vector_of_text_i(s: Serving) -> None:
    """Whatever the mix of hits, misses, duplicates and empty texts; and each text is sent once."""
    chance = random.Random(7)
    known = ["", " ", "a", "b", "é", "\ud800", *(f"text {i}" for i in range(30))]
    asked = set()
    for _ in range(40):
        texts = chance.choices(known, k=chance.randrange(12))
        asked |= set(texts)
        found = s.sync.embed_batch(texts)
        assert found.embeddings.shape == (len(texts), 8)
        assert found.embeddings.tobytes() == (right(texts) if texts else b"")
    sent = [text for batch in s.batches() for text in batch]
    assert sorted(sent) == sorted(asked)


def test_both_ways_to_call_it_are_one(s: Serving) -> None:
    """The same arguments, and the same results, with `await` and without."""

    async def with_loop() -> list[Any]:
        service = s.service
        return [
            await service.embed_text("a"),
            await service.embed_query("b", model="m"),
            await service.embed_batch(["a", "c"], batch_size=1),
        ]

    calls = s.sync.embed_text("a"), s.sync.embed_query("b"), s.sync.embed_batch(["a", "c"])
    for one, other in zip(calls, asyncio.run(with_loop()), strict=True):
        assert type(one) is type(other)
        for field in ("embedding", "embeddings"):
            if hasattr(one, field):
                assert np.array_equal(getattr(one, field), getattr(other, field))
    for name in ("embed_text", "embed_query", "embed_batch"):
        here, there = getattr(EmbedderService, name), getattr(SyncEmbedder, name)
        assert inspect.iscoroutinefunction(here)
        assert here.__doc__ == there.__doc__
        assert inspect.signature(here) == inspect.signature(there)


def test_a_result_says_where_it_came_from(s: Serving) -> None:
    """Cached, and how many of a batch; the dimension, and the model's name."""
    first, again = s.sync.embed_text("a"), s.sync.embed_text("a")
    assert (first.cached, again.cached) == (False, True)
    assert (first.dimension, first.model) == (8, "m")
    batch = s.sync.embed_batch(["a", "b", "b", "c"])
    assert (batch.cached_count, batch.dimension, batch.model) == (1, 8, "m")


def test_what_is_returned_belongs_to_the_caller(s: Serving) -> None:
    """Writing into it changes nothing for anybody else."""
    for _ in range(2):
        found = s.sync.embed_text("a").embedding
        assert found.tobytes() == right(["a"])
        found[:] = 0
    batch = s.sync.embed_batch(["a", "a"]).embeddings
    batch[0] = 0
    assert batch[1].tobytes() == right(["a"])


def test_queries_and_documents_have_keys_of_their_own(tmp_path: Path) -> None:
    """Where the model has a prompt for one of them."""
    with serving(tmp_path, world(prompts={"query": "ask: "})) as s:
        assert s.sync.embed_text("a").embedding.tobytes() == right(["a"])
        assert s.sync.embed_query("a").embedding.tobytes() == right(["a"], prompt="ask: ")
        assert s.sync.embed_query("a").cached
        assert s.sync.embed_batch(["a"]).cached_count == 1
        assert len(s.batches()) == 2


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"prompts": {"query": "ask: ", "document": "told: "}},
        {"prompts": {"passage": "p: ", "other": "o: "}, "default_prompt_name": "other"},
        {"hidden_prompts": {"query": "ask: "}},
        {"has_roles": True},
    ],
    ids=["none", "both", "default", "hidden", "roles"],
)
def test_its_vectors_are_those_of_the_model_itself(files: dict[str, Any], tmp_path: Path) -> None:
    """What `encode_query` and `encode_document` have stored is found, and the other way round."""
    with serving(tmp_path, world(**files)) as s:
        s.w.inner()
        model = s.w.model()
        for role, ask in (("query", s.sync.embed_query), ("document", s.sync.embed_text)):
            itself = getattr(model, f"encode_{role}")
            stored = itself(f"{role} first")
            found = ask(f"{role} first")
            assert found.cached
            assert np.array_equal(found.embedding, stored)
            assert not ask(f"{role} second").cached
            before = len(s.batches())
            itself(f"{role} second")
            assert len(s.batches()) == before


def test_without_the_cache_it_is_computed_and_not_kept(s: Serving) -> None:
    """`use_cache=False`: neither read nor written."""
    assert not s.sync.embed_text("a", use_cache=False).cached
    assert not s.sync.embed_text("a").cached
    assert not s.sync.embed_text("a", use_cache=False).cached
    assert s.batches() == [["a"], ["a"], ["a"]]


def test_a_service_may_keep_nothing(tmp_path: Path) -> None:
    """`enable_caching=False`; every text is computed each time it is asked for."""
    with serving(tmp_path, cache=None, enable_caching=False) as s:
        for _ in range(2):
            found = s.sync.embed_batch(["a", "b"])
            assert found.embeddings.tobytes() == right(["a", "b"])
            assert found.cached_count == 0
        assert not s.service.caching_enabled
        assert s.service.get_metrics()["total_embeddings_generated"] == 4


def test_fewer_dimensions_are_cut_and_of_unit_length(s: Serving) -> None:
    """Of the stored vector, which is one for all dimensions."""
    whole = s.sync.embed_text("a").embedding
    cut = s.sync.embed_text("a", dimensions=3)
    assert cut.cached
    assert cut.dimension == 3
    assert np.allclose(cut.embedding, whole[:3] / np.linalg.norm(whole[:3]), atol=1e-7)
    assert np.array_equal(s.sync.embed_text("a").embedding, whole)
    for wrong in (0, 9):
        with pytest.raises(ValueError, match="dimensions"):
            s.sync.embed_text("a", dimensions=wrong)


def test_a_kind_of_string_is_a_string_from_the_door_on(tmp_path: Path) -> None:
    """A subclass that joins, compares or hides itself in its own way has the vector of its text."""

    class Own(str):
        def __add__(self, other: str) -> str:
            return "spoilt"

        __radd__ = __format__ = __add__

        def __eq__(self, other: object) -> bool:
            return False

        def __hash__(self) -> int:
            return 7

        def __str__(self) -> str:
            return "hidden"

    with serving(tmp_path, world(prompts={"query": "ask: "})) as s:
        assert s.sync.embed_query(Own("a")).embedding.tobytes() == right(["a"], prompt="ask: ")
        batch = s.sync.embed_batch([Own("a"), Own("a"), "a"])
        assert batch.embeddings.tobytes() == right(["a", "a", "a"])
        assert s.batches() == [["a"], ["a"]]
        assert {type(text) for texts in s.batches() for text in texts} == {str}
        assert s.sync.embed_text("a").cached


def test_bad_arguments_are_one_clear_error(s: Serving) -> None:
    """And nothing of the call is computed."""
    with pytest.raises(UnknownModelError, match="all-MiniLM-L6-v2"):
        s.sync.embed_text("a", model="nobody/has-it")
    with pytest.raises(TypeError, match="text 1"):
        s.sync.embed_batch(["a", None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="embed_text"):
        s.sync.embed_batch("a")
    with pytest.raises(ValueError, match="batch_size"):
        s.sync.embed_batch(["a"], batch_size=0)
    assert s.batches() == []


# ----------------------------------------------------------------------------------- together


def test_a_hundred_that_ask_for_one_text_have_it_encoded_once(s: Serving) -> None:
    """With an event loop and without; one of them pays."""

    async def ask() -> list[Any]:
        return await asyncio.gather(*(s.service.embed_text("a") for _ in range(100)))

    found = asyncio.run(ask())
    assert {one.embedding.tobytes() for one in found} == {right(["a"])}
    assert sum(not one.cached for one in found) == 1
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: s.sync.embed_text("b"), range(20)))
    assert sum(not one.cached for one in found) == 1
    assert s.batches() == [["a"], ["b"]]


def test_what_arrives_together_is_encoded_together(tmp_path: Path) -> None:
    """While one batch is encoded, those who come wait, and go in the next."""
    with serving(tmp_path) as s:
        gate = gated(s)

        async def ask() -> list[Any]:
            first = asyncio.ensure_future(s.service.embed_text("first"))
            await asyncio.to_thread(gate.reached.wait, DEADLOCK)
            rest = [asyncio.ensure_future(s.service.embed_text(f"{i}")) for i in range(50)]
            await asyncio.to_thread(eventually, lambda: s.service.queued == 50)
            gate.open.set()
            return await asyncio.gather(first, *rest)

        found = asyncio.run(ask())
        texts = ["first", *map(str, range(50))]
        assert b"".join(one.embedding.tobytes() for one in found) == right(texts)
        assert [len(batch) for batch in s.batches()] == [1, 50]


def test_a_full_batch_does_not_wait(tmp_path: Path) -> None:
    """The wait for others is bounded by their number, too."""
    with serving(tmp_path, max_wait=3600.0) as s:
        texts = [f"{i}" for i in range(256)]
        assert s.sync.embed_batch(texts).embeddings.tobytes() == right(texts)


def test_a_single_text_is_not_held_up_by_a_thousand(tmp_path: Path) -> None:
    """Each call that waits has its turn in every batch."""
    with serving(tmp_path) as s:
        gate = gated(s)
        with ThreadPoolExecutor(3) as pool:
            pool.submit(s.sync.embed_text, "first")
            assert gate.reached.wait(DEADLOCK)
            many = pool.submit(s.sync.embed_batch, [f"{i}" for i in range(1000)])
            eventually(lambda: s.service.queued == 1000)
            one = pool.submit(s.sync.embed_text, "single")
            eventually(lambda: s.service.queued == 1001)
            gate.open.set()
            assert one.result(DEADLOCK).embedding.tobytes() == right(["single"])
            assert many.result(DEADLOCK).embeddings.shape == (1000, 8)
        assert "single" in s.batches()[1]


def test_the_batch_size_is_the_models(s: Serving) -> None:
    """That of its row, or of the call; whatever is encoded together."""
    s.sync.embed_batch(["a", "b"])
    s.sync.embed_batch(["c", "d"], batch_size=2)
    assert [options["batch_size"] for options in s.w.inner().options] == [4, 2]


# ----------------------------------------------------------------------------------- bad days


def test_a_caller_that_goes_away_takes_nothing_from_others(tmp_path: Path) -> None:
    """Two wait for one text, and the first, who would have paid for it, is cancelled."""
    with serving(tmp_path) as s:
        gate = gated(s)

        async def ask() -> Any:
            one = asyncio.ensure_future(s.service.embed_text("a"))
            await asyncio.to_thread(gate.reached.wait, DEADLOCK)
            other = asyncio.ensure_future(s.service.embed_text("a"))
            lane = s.service._calls.models.all()[0].lane("document", 4, True)
            await asyncio.to_thread(eventually, lambda: len(lane._entries["a"].requests) == 2)
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
            gate.open.set()
            return await other

        found = asyncio.run(ask())
        assert found.embedding.tobytes() == right(["a"])
        assert not found.cached
        assert s.batches() == [["a"]]


def test_what_nobody_waits_for_any_more_is_not_encoded(tmp_path: Path) -> None:
    """And the service can be closed all the same."""
    with serving(tmp_path) as s:
        gate = gated(s)

        async def ask() -> None:
            first = asyncio.ensure_future(s.service.embed_text("first"))
            await asyncio.to_thread(gate.reached.wait, DEADLOCK)
            gone = asyncio.ensure_future(s.service.embed_text("gone"))
            await asyncio.to_thread(eventually, lambda: s.service.queued == 1)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            gate.open.set()
            await first

        asyncio.run(ask())
        s.service.close()
        assert s.batches() == [["first"]]


def test_the_loop_runs_while_the_model_encodes(tmp_path: Path) -> None:
    """What is in memory is answered, and what is in a store below, while a batch stands still."""
    with serving(tmp_path) as s:
        s.sync.embed_text("hit")
        gate = gated(s)

        async def ask() -> None:
            slow = asyncio.ensure_future(s.service.embed_text("slow"))
            await asyncio.to_thread(gate.reached.wait, DEADLOCK)
            assert (await s.service.embed_text("hit")).cached
            assert (await s.service.embed_batch(["hit"] * 500)).cached_count == 500
            assert not slow.done()
            gate.open.set()
            await slow

        asyncio.run(ask())


def test_a_text_that_the_model_refuses_fails_alone(tmp_path: Path) -> None:
    """Those that happened to be in its batch get their vectors."""
    with serving(tmp_path) as s:
        gate = gated(s)

        def refuse(texts: Any) -> None:
            gate(texts)
            if "bad" in texts:
                raise RuntimeError("not that one")

        s.w.inner().before = refuse
        with ThreadPoolExecutor(4) as pool:
            pool.submit(s.sync.embed_text, "first")
            assert gate.reached.wait(DEADLOCK)
            good = pool.submit(s.sync.embed_batch, ["a", "b"])
            eventually(lambda: s.service.queued == 2)
            bad = pool.submit(s.sync.embed_batch, ["c", "bad"])
            eventually(lambda: s.service.queued == 4)
            gate.open.set()
            assert good.result(DEADLOCK).embeddings.tobytes() == right(["a", "b"])
            with pytest.raises(RuntimeError, match="not that one"):
                bad.result(DEADLOCK)
        assert s.service.get_metrics()["total_errors"] == 1


def test_a_model_that_returns_too_little_is_an_error_for_all(s: Serving) -> None:
    """Never a row for another text; and the next call is served."""
    s.w.inner().reshape = lambda rows: rows[:-1]
    with pytest.raises(EncodeError):
        s.sync.embed_batch(["a", "b"])
    s.w.inner().reshape = lambda rows: rows
    assert s.sync.embed_batch(["a", "b"]).embeddings.tobytes() == right(["a", "b"])


def test_a_load_that_fails_is_tried_again(s: Serving) -> None:
    """The error is the caller's who needed the model."""
    failures = [OSError("no weights")]

    def fail_once(name: str) -> None:
        if failures:
            raise failures.pop()

    s.w.backend.on_load = fail_once
    with pytest.raises(OSError, match="no weights"):
        s.sync.embed_text("a")
    assert s.sync.embed_text("a").embedding.tobytes() == right(["a"])


def test_a_model_that_takes_long_to_open_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait for it; and it is opened once."""
    gate, opened = Gate(), []

    def open_model(row: Any, *args: Any) -> Any:
        opened.append(row.name)
        if row.name == "slow":
            gate()
        return w.model()

    w = world()
    monkeypatch.setattr("pytest_embedcache.service.opened.open_model", open_model)
    with serving(tmp_path, w, table='[models.slow]\nbackend = "pure"\n') as s:
        with ThreadPoolExecutor(40) as pool:
            waiting = [pool.submit(s.sync.embed_text, "a", model="slow") for _ in range(40)]
            assert gate.reached.wait(DEADLOCK)
            assert s.sync.embed_text("b").embedding.tobytes() == right(["b"])
            gate.open.set()
            found = [one.result(DEADLOCK).embedding.tobytes() for one in waiting]
        assert set(found) == {right(["a"])}
        assert sorted(opened) == ["m", "slow"]


def test_a_closed_service_has_finished_what_it_accepted(tmp_path: Path) -> None:
    """And takes nothing more."""
    with serving(tmp_path) as s:
        gate = gated(s)
        with ThreadPoolExecutor(2) as pool:
            accepted = pool.submit(s.sync.embed_text, "a")
            assert gate.reached.wait(DEADLOCK)
            closing = pool.submit(s.service.close)
            eventually(lambda: s.service._calls._closed)
            with pytest.raises(ServiceClosedError):
                s.sync.embed_text("b")
            assert not closing.done()
            gate.open.set()
            closing.result(DEADLOCK)
            assert accepted.result(0).embedding.tobytes() == right(["a"])
        s.service.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_service_that_works(s: Serving) -> None:
    """Though the threads of its parent do not exist there."""
    s.sync.embed_text("a")
    child = os.fork()
    if not child:
        try:
            same = s.sync.embed_batch(["a", "b"]).embeddings.tobytes() == right(["a", "b"])
            os._exit(0 if same else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ----------------------------------------------------------------------------------- models


def test_a_model_is_loaded_when_needed_and_unloaded_when_idle(tmp_path: Path) -> None:
    """Nothing is loaded for a hit; after the time without use it is gone, and comes back."""
    now = [0.0]
    unloader = IdleUnloader(lambda: now[0], thread=False)
    w = world()
    w.registry = ModelRegistry(backends={"pure": w.backend}, unloader=unloader)
    with serving(tmp_path, w, idle_timeout=60.0) as s:
        assert s.service.models_loaded == []
        s.sync.embed_text("a")
        assert s.service.models_loaded == ["m"]
        now[0] = 59.0
        unloader.sweep()
        assert s.service.models_loaded == ["m"]
        now[0] = 61.0
        unloader.sweep()
        assert s.service.models_loaded == []
        assert s.sync.embed_text("a").cached
        assert s.service.models_loaded == []
        assert s.sync.embed_text("b").embedding.tobytes() == right(["b"])
        assert w.backend.loads == ["m", "m"]


def test_the_default_model_is_the_one_that_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's where there is a key, else a local one; nothing is loaded to know."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert EmbedderService().default_model == "all-MiniLM-L6-v2"
    assert EmbedderService(openai_api_key="k").default_model == "text-embedding-3-small"
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert EmbedderService().default_model == "text-embedding-3-small"
    assert EmbedderService("all-mpnet-base-v2").default_model == "all-mpnet-base-v2"
    with pytest.raises(UnknownModelError):
        EmbedderService("nobody/has-it")


def test_a_process_has_one_service(tmp_path: Path) -> None:
    """Made with the options of the first call; options later are an error, not forgotten."""
    before = swap_embedder_service(None)
    try:
        first = get_embedder_service(default_model="all-mpnet-base-v2")
        assert get_embedder_service() is first
        assert first.default_model == "all-mpnet-base-v2"
        with pytest.raises(SettingsError, match="default_model"):
            get_embedder_service(default_model="all-MiniLM-L6-v2")
        first.close()
        assert get_embedder_service(default_model="all-MiniLM-L6-v2") is not first
    finally:
        swap_embedder_service(before)


def test_arguments_that_exclude_each_other_are_refused() -> None:
    """A client that the service could not use is said at once."""

    class Asynchronous:
        async def __aenter__(self) -> None: ...

    with pytest.raises(SettingsError, match="enable_caching"):
        EmbedderService(redis_client=object(), enable_caching=False)
    with pytest.raises(SettingsError, match="asyncio"):
        EmbedderService(redis_client=Asynchronous())
