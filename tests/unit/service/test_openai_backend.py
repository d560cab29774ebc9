"""The backend `openai`, with the real client against the fake of OpenAI's service."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import openai_runs
from support.openai_runs import URL
from support.own_defaults import own_defaults

from pytest_embedcache import ModelRegistry, ModelSpec, get_model
from pytest_embedcache.dropin.openai import OpenAIStandIn
from pytest_embedcache.dropin.switch import Switch
from pytest_embedcache.errors import (
    EmptyTextError,
    EncodeError,
    MissingExtraError,
    ModelLoadError,
    ProviderError,
    ReplayMissError,
)
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends.openai import OPENAI, OpenAIBackend
from pytest_embedcache.models.remote import RemoteModel
from pytest_embedcache.testing.contracts import BackendContract
from pytest_embedcache.testing.fake_model import fake_vector
from pytest_embedcache.testing.fake_openai import FakeOpenAI, fake_openai
from pytest_embedcache.vectors.api import cached_model, default_cache
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.recording_header import Header, headers_in

pytest.importorskip("openai")

SMALL, LARGE = "text-embedding-3-small", "text-embedding-3-large"


def spec(name: str = SMALL, **options: Any) -> ModelSpec:
    return ModelSpec(name, backend="openai", **options)


def expected(*texts: str) -> np.ndarray:
    return np.stack([fake_vector(SMALL, text, 1536) for text in texts])


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    with own_defaults():
        yield


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with fake_openai() as found:
        yield found


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the backend has waited before it asked again."""
    return []


@pytest.fixture
def backend(waits: list[float]) -> OpenAIBackend:
    return OpenAIBackend(wait=waits.append)


@pytest.fixture
def model(fake: FakeOpenAI, backend: OpenAIBackend, tmp_path: Path) -> Any:
    backend.import_libraries()
    return backend.load(backend.prepare(spec(), ArtifactStore(tmp_path)))


class TestOpenAIBackend(BackendContract):
    lacks = {
        "missing_models": "whether there is such a model only the provider knows",
        "state": "nothing can be changed on a model behind an API",
    }

    @pytest.fixture
    def backend(self, fake: FakeOpenAI) -> OpenAIBackend:
        return OpenAIBackend()

    @pytest.fixture
    def spec(self) -> ModelSpec:
        return spec()

    @pytest.fixture
    def other_spec(self) -> ModelSpec:
        return spec(LARGE)

    @pytest.fixture
    def unloadable(self, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
        monkeypatch.delenv("OPENAI_API_KEY")
        return spec()


# ----------------------------------------------------------------------------------- which model


def test_a_model_is_the_one_that_the_drop_in_knows(
    backend: OpenAIBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fingerprint for both ways to it: vectors that a test stored are found by a service."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    found = backend.identify(spec(), ArtifactStore(tmp_path))
    assert found.fingerprint == RemoteModel("openai", OPENAI, SMALL).fingerprint
    assert found.metadata.dimension == 1536


def test_endpoint_and_version_are_part_of_a_model(
    backend: OpenAIBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another endpoint's, or an older, model is another one; a key and a last slash are not."""
    artifacts = ArtifactStore(tmp_path)
    found = set()
    for url in ("https://one.example/v1", "https://two.example/v1"):
        for version in (None, "2"):
            for token in ("a", "b"):
                for slash in ("", "/"):
                    monkeypatch.setenv("OPENAI_BASE_URL", url + slash)
                    one = spec(revision=version, token=token)
                    prepared = backend.prepare(one, artifacts)
                    found.add((prepared, backend.identify(one, artifacts).fingerprint))
                    assert backend.identify(prepared, artifacts) == backend.identify(one, artifacts)
    assert len(found) == len({fingerprint for _, fingerprint in found}) == 4


def test_two_fakes_share_no_vectors(backend: OpenAIBackend, tmp_path: Path) -> None:
    """Nor does a fake with what is really there, should it have had the same port."""
    seen = set()
    for _ in range(2):
        with fake_openai() as fake:
            one = spec(path=fake.base_url)
            seen.add(backend.identify(one, ArtifactStore(tmp_path)).fingerprint)
        seen.add(backend.identify(one, ArtifactStore(tmp_path)).fingerprint)
    assert len(seen) == 4


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"dtype": "float16"}, {"form": "int8"}])
def test_there_is_nothing_to_choose_about_its_computing(options: dict[str, Any]) -> None:
    """Where and how the provider computes is its own affair: an error, not another key."""
    with pytest.raises(ValueError, match="'openai'"):
        spec(**options)


# ----------------------------------------------------------------------------------- keys


def test_a_missing_key_is_an_error_at_the_first_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not when the model is asked for; and the error says what to set."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    model = get_model(SMALL, backend="openai")
    assert model.get_embedding_dimension() == 1536
    with pytest.raises(ModelLoadError, match="OPENAI_API_KEY"):
        model.encode("a cat")


def test_the_key_of_openai_is_sent_to_nobody_else(
    fake: FakeOpenAI, backend: OpenAIBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An endpoint that a spec names gets the key of the spec, or none."""
    url = fake.base_url
    monkeypatch.setenv("OPENAI_API_KEY", fake.api_key)
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(ProviderError) as caught:
        backend.load(spec(path=url, device="cpu")).encode(["a cat"])
    assert caught.value.status == 401
    assert fake.api_key not in str(caught.value)
    given = backend.load(spec(path=url, token=fake.api_key)).encode(["a cat"])
    assert np.array_equal(given, expected("a cat"))


def test_without_the_package_it_says_which_extra(
    backend: OpenAIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first use."""
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"pytest-embedcache\[openai\]"):
        backend.import_libraries()


# ----------------------------------------------------------------------------------- requests


def test_a_batch_is_sent_in_requests_that_the_api_takes(fake: FakeOpenAI, model: Any) -> None:
    """At most 2,048 texts and 300,000 tokens, at the most that they can be; in their order."""
    many = [f"text {i}" for i in range(2049)]
    assert np.array_equal(model.encode(many), expected(*many))
    assert fake.batch_sizes == [2048, 1]
    fake.requests.clear()
    fake.count_tokens = lambda text: len(text.encode())  # the worst vocabulary that there can be
    wide = [f"{i} {'é' * 3_000}" for i in range(100)]
    model.encode(wide)
    assert len(fake.batch_sizes) == 3
    assert fake.texts == wide


def test_a_request_size_is_kept(fake: FakeOpenAI, model: Any) -> None:
    """Each text is sent once."""
    told: list[tuple[Any, Any]] = []
    model.encode_billed([f"{i}" for i in range(7)], lambda *one: told.append(one), request_size=3)
    assert fake.batch_sizes == [3, 3, 1]
    assert told == [(["0", "1", "2"], [1] * 3), (["3", "4", "5"], [1] * 3), (["6"], [1])]


def test_rows_come_by_their_index(fake: FakeOpenAI, model: Any) -> None:
    """Row i is the vector of text i in whatever order the service sends them."""
    fake.reorder_next()
    assert np.array_equal(model.encode(["a", "b", "c"]), expected("a", "b", "c"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fake: fake.fewer_rows_next(),
        lambda fake: fake.wrong_dimension_next(7),
    ],
    ids=["fewer rows", "another dimension"],
)
def test_an_answer_that_is_not_one_vector_for_each_text_is_an_error(
    spoil: Callable[[FakeOpenAI], None], fake: FakeOpenAI
) -> None:
    """And nothing of it is stored."""
    model = get_model(SMALL, backend="openai")
    spoil(fake)
    with pytest.raises(EncodeError):
        model.encode(["a", "b"])
    assert np.array_equal(model.encode(["a", "b"]), expected("a", "b"))
    assert len(fake.requests) == 2


def test_a_model_that_is_not_known_keeps_the_dimension_of_its_first_answer(
    fake: FakeOpenAI, backend: OpenAIBackend, tmp_path: Path
) -> None:
    """A later one of another length is an error."""
    fake.models["bge-m3"] = 8
    model = backend.load(backend.prepare(spec("bge-m3"), ArtifactStore(tmp_path)))
    assert model.get_embedding_dimension() is None
    assert model.encode(["a"]).shape == (1, 8)
    assert model.get_embedding_dimension() == 8
    fake.wrong_dimension_next(7)
    with pytest.raises(EncodeError):
        model.encode(["b"])


def test_an_empty_text_is_an_error_before_anything_is_sent(fake: FakeOpenAI, model: Any) -> None:
    """It names the text's place; a blank is a text."""
    with pytest.raises(EmptyTextError) as caught:
        model.encode(["a", "", "b"])
    assert caught.value.position == 1
    assert fake.requests == []
    assert model.encode([" "]).shape == (1, 1536)


# ----------------------------------------------------------------------------------- asking again


def test_it_asks_again_when_it_is_told_to(fake: FakeOpenAI, model: Any, waits: list[float]) -> None:
    """After 429 and 5xx, after as long as the service says."""
    fake.rate_limit_next(retry_after=7.5, times=2)
    fake.fail_next(503)
    assert np.array_equal(model.encode(["a cat"]), expected("a cat"))
    assert waits == [7.5, 7.5, 0.001]
    assert fake.texts == ["a cat"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422])
def test_it_does_not_ask_again_after_any_other_error(
    status: int, fake: FakeOpenAI, model: Any, waits: list[float]
) -> None:
    """The status is in the error, what the provider said in its cause: it may quote the text."""
    fake.fail_next(status, message="'a secret' is not a text")
    with pytest.raises(ProviderError) as caught:
        model.encode(["a secret"])
    assert caught.value.status == status
    assert "a secret" not in str(caught.value)
    assert "a secret" in str(caught.value.__cause__)
    assert (len(fake.requests), waits) == (1, [])


def test_money_that_is_spent_is_not_waited_for(
    fake: FakeOpenAI, model: Any, waits: list[float]
) -> None:
    """A 429 for a quota passes with no time."""
    fake.fail_next(429, code="insufficient_quota")
    with pytest.raises(ProviderError, match="insufficient_quota"):
        model.encode(["a"])
    assert (len(fake.requests), waits) == (1, [])


def test_it_gives_up_in_the_end(fake: FakeOpenAI, model: Any, waits: list[float]) -> None:
    """After six requests; and at once where it is to come back in an hour, which it says."""
    fake.fail_next(500, times=6)
    with pytest.raises(ProviderError) as caught:
        model.encode(["a"])
    assert caught.value.status == 500
    assert (len(fake.requests), len(waits)) == (6, 5)
    fake.rate_limit_next(retry_after=3600)
    with pytest.raises(ProviderError) as caught:
        model.encode(["a"])
    assert caught.value.retry_after == 3600
    assert (len(fake.requests), len(waits)) == (7, 5)


def test_no_answer_at_all_is_an_error_that_says_so(
    backend: OpenAIBackend, waits: list[float]
) -> None:
    """Nobody listens there."""
    with fake_openai() as gone:
        url = gone.base_url
        model = backend.load(spec(path=url, token="k"))
    with pytest.raises(ProviderError, match="no answer") as caught:
        model.encode(["a"])
    assert caught.value.status is None
    assert waits == []


# ----------------------------------------------------------------------------------- in front of it


def test_a_cached_model_stands_in_front_of_it(fake: FakeOpenAI) -> None:
    """Each text is sent once, and its tokens are counted; a role changes nothing."""
    model = get_model(SMALL, backend="openai")
    first = model.encode(["a cat", "a dog", "a cat"])
    again = model.encode_query(["a dog", "a bird"])
    assert np.array_equal(first, expected("a cat", "a dog", "a cat"))
    assert np.array_equal(again, expected("a dog", "a bird"))
    assert sorted(fake.texts) == ["a bird", "a cat", "a dog"]
    tally = default_cache().tallies.as_dict()[SMALL]
    assert (tally["computed"], tally["billed"], tally["tokens"]) == (3, 3, fake.tokens)


def test_the_drop_in_leaves_its_requests_alone(
    fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for the vector that the request is to bring."""
    monkeypatch.setattr("pytest_embedcache.dropin.openai.is_fake", lambda url: False)
    switch = Switch([OpenAIStandIn(cache=default_cache)])
    switch.started = True
    switch.install()
    try:
        found = get_model(SMALL, backend="openai").encode("a cat")
        assert default_cache().tallies.as_dict()[SMALL]["asked"] == 1
        with fake.client() as client:  # the drop-in is there
            client.embeddings.create(model=SMALL, input="a dog")
        assert default_cache().tallies.as_dict()[SMALL]["asked"] == 2
    finally:
        switch.remove()
    assert np.array_equal(found, expected("a cat")[0])
    assert fake.texts == ["a cat", "a dog"]


def test_a_fakes_vectors_are_in_no_store_of_real_ones(fake: FakeOpenAI) -> None:
    """Nor in a file of this machine; they are found again as long as the fake is there."""
    model = get_model(SMALL, backend="openai")
    for _ in range(2):
        assert np.array_equal(model.encode("a cat"), expected("a cat")[0])
    assert fake.texts == ["a cat"]
    store = default_cache().store
    assert store is not None
    assert store.stats().entries == 0
    assert store.get_many(model.fingerprint, model.keys(["a cat"])) == {}


def test_what_is_recorded_is_replayed_without_network_or_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one request; and it is the recording that the drop-in would have made."""
    recordings, texts = tmp_path / "recordings", ["a cat", "a dog", "a cat"]

    def encoded(cache: VectorCache, which: Sequence[str] = texts) -> bytes:
        registry = ModelRegistry()
        found = cached_model(registry, cache, spec(token="k", path=URL)).encode(list(which))
        return bytes(found.tobytes())

    with openai_runs.served() as service:
        service.api_key, service.models[SMALL] = "k", 1536
        monkeypatch.setattr(OpenAIBackend, "url_of", lambda self, spec: service.base_url)
        made = encoded(openai_runs.recording(recordings, tmp_path / "spool"))
        assert service.batch_sizes == [2]
    openai_runs.recorded(recordings, tmp_path / "spool")
    (header,) = map(Header.read, headers_in(recordings).values())
    assert header.remote == RemoteModel("openai", URL, SMALL)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert encoded(openai_runs.replaying(recordings)) == made
    with pytest.raises(ReplayMissError):
        encoded(openai_runs.replaying(recordings), ["a bird"])


def test_requests_of_one_model_run_beside_each_other(fake: FakeOpenAI) -> None:
    """While one waits for its answer, another one is answered."""
    model = get_model(SMALL, backend="openai")
    hang = fake.hang_next()
    slow = threading.Thread(target=lambda: model.encode("slow"), daemon=True)
    slow.start()
    assert hang.reached.wait(120)
    assert np.array_equal(model.encode("quick"), expected("quick")[0])
    assert slow.is_alive()
    hang.release()
    slow.join(120)
    assert fake.texts == ["quick", "slow"]


def test_it_is_imported_by_whoever_has_such_a_model() -> None:
    """The table of backends does not import it for others."""
    code = (
        "import sys, pytest_embedcache.models.backends as b\n"
        "there = lambda: 'pytest_embedcache.models.backends.openai' in sys.modules\n"
        "print(there(), b.BACKENDS['openai'].is_concurrent, there(), 'openai' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True", "True", "False"]
