"""A remote model: which one it is, and its recordings, replayed with neither network nor key."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.children import python
from support.openai_runs import (
    SMALL,
    URL,
    dropped_in,
    expected,
    memory,
    recorded,
    recording,
    replaying,
    served,
    standing_in,
    vectors,
)
from support.recorded import contents, entries

from pytest_embedcache import ModelSpec
from pytest_embedcache.cli import main
from pytest_embedcache.dropin.openai_calls import Names
from pytest_embedcache.errors import (
    RecordingError,
    RecordingMismatchError,
    RecordingNotFoundError,
    ReplayMissError,
    ReplayModelError,
)
from pytest_embedcache.models.remote import RemoteModel, bare_url
from pytest_embedcache.vectors.recording_header import Header, headers_in
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.replay import RecordedModels

openai = pytest.importorskip("openai")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@contextmanager
def offline() -> Iterator[None]:
    """Nothing can be connected to, and there is no key."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a connection was tried")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, refuse)
        for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "AZURE_OPENAI_API_KEY"):
            patch.delenv(name, raising=False)
        yield


def record(recordings: Path, spool: Path, *texts: str, anew: bool = False, **options: Any) -> int:
    """A run that records these texts in one call; returns how many texts were sent."""
    with served() as fake, dropped_in(recording(recordings, spool, anew=anew), fake):
        fake.client().embeddings.create(model=SMALL, input=list(texts), **options)
        sent = len(fake.texts)
    recorded(recordings, spool, anew=anew)
    return sent


# ------------------------------------------------------------------------------ which model it is


def test_each_part_of_the_name_makes_another_model() -> None:
    """Provider, base URL, model, dimensions and version; and nothing is one of two by accident."""
    one = RemoteModel("openai", URL, SMALL)
    others = [
        RemoteModel("azure", URL, SMALL),
        RemoteModel("openai", f"{URL}/2", SMALL),
        RemoteModel("openai", URL, f"{SMALL}2"),
        RemoteModel("openai", URL, SMALL, dimensions=256),
        RemoteModel("openai", URL, SMALL, version="256"),
        RemoteModel("openai", URL, SMALL, version="None"),
    ]
    assert len({model.fingerprint for model in (one, *others)}) == 7
    assert all(RemoteModel.from_dict(model.as_dict()) == model for model in others)


@pytest.mark.parametrize(
    ("given", "bare"),
    [
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://me:secret@API.openai.com:443/v1?key=secret#x", "https://api.openai.com/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://[::1]:80/v1", "http://[::1]/v1"),
    ],
)
def test_a_base_url_is_one_however_it_is_spelt(given: str, bare: str) -> None:
    """And without what may be secret."""
    assert bare_url(given) == bare


def test_vectors_of_different_models_are_apart() -> None:
    """Same texts: other dimensions, another model, another service, another version."""
    cache = memory()
    with served() as one, served() as two:
        calls: list[tuple[Any, dict[str, Any], dict[str, str]]] = [
            (one, {"model": SMALL}, {}),
            (one, {"model": SMALL, "dimensions": 5}, {}),
            (one, {"model": "text-embedding-3-large"}, {}),
            (two, {"model": SMALL}, {}),
            (one, {"model": SMALL}, {SMALL: "2026-05"}),
        ]
        for fake, options, versions in calls * 2:
            with dropped_in(cache, **versions):
                found = fake.client().embeddings.create(input="a", **options)
                assert found.data[0].embedding
        assert (len(one.texts), len(two.texts)) == (4, 1)


def test_azure_is_a_provider_with_its_deployment() -> None:
    """Its vectors are apart from OpenAI's, and found again."""
    cache = memory()
    with served() as fake, dropped_in(cache):
        for _ in range(2):
            with openai.AzureOpenAI(
                api_version="2024-10-21", azure_endpoint=fake.azure_endpoint, api_key=fake.api_key
            ) as client:
                found = client.embeddings.create(model=SMALL, input="a")
            assert np.array_equal(vectors(found), expected("a"))
        fake.client().embeddings.create(model=SMALL, input="a")
        assert fake.texts == ["a", "a"]


def test_no_secret_gets_anywhere(
    recordings: Path, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither key nor credentials of the URL are in a key, a header, a recording or a log."""
    caplog.set_level(logging.DEBUG, logger="pytest_embedcache")
    with served() as fake, dropped_in(recording(recordings, spool)):
        secret = {"token": "hunter2"}
        client = fake.client(default_query=secret, default_headers={"X-Secret": "hunter3"})
        client.embeddings.create(model=SMALL, input="a")
        secrets = (fake.api_key, "hunter2", "hunter3")
        fake.fail_next(401)
        with pytest.raises(openai.AuthenticationError):
            client.embeddings.create(model=SMALL, input="b")
    recorded(recordings, spool)
    everything = b"".join(contents(recordings).values()).decode() + caplog.text
    assert "127.0.0.1" in everything
    assert not [secret for secret in secrets if secret in everything]


# ------------------------------------------------------------------------------ recordings


def test_the_header_says_what_is_known_by_name(recordings: Path, spool: Path) -> None:
    """And says no more when a text is added; a batch is sent at once, and recorded per text."""
    assert record(recordings, spool, "a", "b", dimensions=5) == 2
    ((folder, file),) = headers_in(recordings).items()
    header = json.loads(file.read_bytes())
    assert header["remote"] == {
        "provider": "openai",
        "base_url": URL,
        "name": SMALL,
        "dimensions": 5,
        "version": None,
    }
    assert (header["name"], header["dimension"], header["commit"]) == (SMALL, 5, None)
    assert folder.name == f"{SMALL}-{header['fingerprint'][:8]}"
    before = contents(recordings)
    assert record(recordings, spool, "a", "b", "c", dimensions=5) == 1
    after = contents(recordings)
    assert before.items() < after.items()
    assert len(entries(recordings)) == 3


def test_what_was_recorded_replays_without_network_or_key(recordings: Path, spool: Path) -> None:
    """Sync, async and the package's own client, in every format: the recorded bits, for nothing."""
    texts = ["a", "naïve", "\U0001f600"]
    record(recordings, spool, *texts)

    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=URL) as client:
            return await client.embeddings.create(model=SMALL, input=texts)

    with offline(), dropped_in(replaying(recordings)):
        client = openai.OpenAI(base_url=URL)
        found = [client.embeddings.create(model=SMALL, input=texts), asyncio.run(ask())]
        found.append(client.embeddings.create(model=SMALL, input=texts, encoding_format="float"))
        assert all(np.array_equal(vectors(one), expected(*texts)) for one in found)
        assert [one.usage.total_tokens for one in found] == [0, 0, 0]
        raw = client.embeddings.create(model=SMALL, input="a", encoding_format="base64")
        assert base64.b64decode(raw.data[0].embedding) == expected("a").tobytes()
    with offline(), pytest.raises(openai.OpenAIError):
        openai.OpenAI(base_url=URL)  # outside of replay a key is wanted, as ever


def test_azure_replays_without_a_key(recordings: Path, spool: Path) -> None:
    """By the base URL that its endpoint makes."""
    where = {"api_version": "2024-10-21", "azure_endpoint": "https://mine.openai.azure.com"}
    url = "https://mine.openai.azure.com/openai"
    with served() as fake:
        aliases = {f"{fake.azure_endpoint}/openai": url}
        real = {**where, "azure_endpoint": fake.azure_endpoint, "api_key": fake.api_key}
        with (
            standing_in(recording(recordings, spool), Names(aliases)),
            openai.AzureOpenAI(**real) as client,
        ):
            client.embeddings.create(model=SMALL, input="a")
    recorded(recordings, spool)
    with offline(), dropped_in(replaying(recordings)):
        found = openai.AzureOpenAI(**where).embeddings.create(model=SMALL, input="a")
        assert np.array_equal(vectors(found), expected("a"))


def test_a_miss_in_replay_names_the_text(recordings: Path, spool: Path) -> None:
    """And the nearest recorded one, and the command; of a batch with a hit, too."""
    record(recordings, spool, "How do I reset my password?")
    with offline(), dropped_in(replaying(recordings)):
        client = openai.OpenAI(base_url=URL)
        with pytest.raises(ReplayMissError) as caught:
            client.embeddings.create(
                model=SMALL, input=["How do I reset my password?", "How do I reset my pasword?"]
            )
    assert caught.value.text == "'How do I reset my pasword?'"
    assert caught.value.nearest == "'How do I reset my password?'"
    assert "the command" in str(caught.value)


def test_what_only_the_service_can_answer_fails_by_name_in_replay(
    recordings: Path, spool: Path
) -> None:
    """Tokens, unknown arguments and raw responses: no connection is tried."""
    record(recordings, spool, "a")
    with offline(), dropped_in(replaying(recordings)):
        client = openai.OpenAI(base_url=URL)
        for call in (
            lambda: client.embeddings.create(model=SMALL, input=[1, 2]),
            lambda: client.embeddings.create(model=SMALL, input="a", extra_body={"x": 1}),
            lambda: client.embeddings.with_raw_response.create(model=SMALL, input="a"),
        ):
            with pytest.raises(ReplayModelError, match=r"embeddings\.create.*dropin=False"):
                call()


def test_another_model_of_the_same_name_is_an_error_that_names_both(
    recordings: Path, spool: Path
) -> None:
    """Another service, other dimensions, another version; an unknown name lists what is there."""
    record(recordings, spool, "a")
    with offline():
        for url, options, versions in (
            ("https://other.test/v1", {}, {}),
            (URL, {"dimensions": 5}, {}),
            (URL, {}, {SMALL: "2"}),
        ):
            with dropped_in(replaying(recordings), **versions):
                client = openai.OpenAI(base_url=url)
                with pytest.raises(RecordingMismatchError) as caught:
                    client.embeddings.create(model=SMALL, input="a", **options)
            assert URL in caught.value.recorded
            assert caught.value.recorded != caught.value.here
            assert ("embedcache_aliases" in str(caught.value)) is (url != URL)
        with dropped_in(replaying(recordings)):
            client = openai.OpenAI(base_url=URL)
            with pytest.raises(RecordingNotFoundError, match=f"Recorded in .*{SMALL} of {URL}"):
                client.embeddings.create(model="text-embedding-3-large", input="a")


def test_rerecord_keeps_what_agrees_and_replaces_what_has_changed(
    recordings: Path, spool: Path
) -> None:
    """Everything is sent again; a vendor that changed one vector changes one file."""
    record(recordings, spool, "a", "b")
    before = entries(recordings)
    assert record(recordings, spool, "a", "b", anew=True) == 2
    assert entries(recordings) == before
    with served() as fake, dropped_in(recording(recordings, spool, anew=True), fake):
        right = fake.vector
        fake.vector = lambda model, text, size: right(model, text + "!" * (text == "b"), size)
        fake.client().embeddings.create(model=SMALL, input=["a", "b"])
    recorded(recordings, spool, anew=True)
    after = entries(recordings)
    assert before.keys() == after.keys()
    assert len([name for name in before if before[name] != after[name]]) == 1


def test_a_local_model_of_that_name_is_another(recordings: Path, spool: Path) -> None:
    """A spec of the same name does not find what a service's model has."""
    record(recordings, spool, "a")
    models = RecordedModels(RecordingsStore(recordings, strict=True), {})
    with pytest.raises(RecordingNotFoundError):
        models.find(ModelSpec(SMALL))


def test_a_header_that_was_edited_is_an_error(recordings: Path, spool: Path) -> None:
    """Another base URL under the old fingerprint is no recording of that service."""
    record(recordings, spool, "a")
    ((_, file),) = headers_in(recordings).items()
    file.write_text(file.read_text().replace("service.test", "other.test"))
    with pytest.raises(RecordingError, match="remote model"):
        Header.read(file)


# ------------------------------------------------------------------------------ imports

LAZY = """
import sys
from pytest_embedcache.dropin.openai import OpenAIStandIn
from pytest_embedcache.dropin.switch import Switch

dropin = Switch([OpenAIStandIn()])
dropin.install()
found = [name in sys.modules for name in ("openai", "numpy", "anyio", "httpx")]
import importlib.util
importlib.util.find_spec("openai.types")
import openai
from openai.resources.embeddings import Embeddings
found.append("pytest_embedcache" in Embeddings.create.__code__.co_filename)
found.append("pytest_embedcache" in openai.OpenAI.__init__.__code__.co_filename)
dropin.remove()
found.append("pytest_embedcache" in Embeddings.create.__code__.co_filename)
found.append(any("embedcache" in type(finder).__module__ for finder in sys.meta_path))
print(found)
"""


def test_the_client_is_changed_when_it_is_imported_and_not_before() -> None:
    """Installing imports neither openai nor numpy; removing leaves no trace."""
    found = python(LAZY)
    assert found == str([False, False, False, False, True, True, False, False])


# ------------------------------------------------------------------------------ the command


def test_the_command_knows_remote_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`show` says by which name; `check` asks the service with the environment's key, for drift."""
    recordings, spool = tmp_path / "recordings", tmp_path / "spool"

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["recordings", *arguments, "--recordings", str(recordings)])
        return status, capsys.readouterr().out

    with served() as fake:
        with dropped_in(recording(recordings, spool)):
            client = fake.client()
            client.embeddings.create(model=SMALL, input=["a", "b"])
            client.embeddings.create(model=SMALL, input=["a"], dimensions=5)
        recorded(recordings, spool)
        status, shown = run("show")
        assert status == 0
        assert f"{SMALL} of {fake.base_url} (openai; by name only): 2 texts" in shown
        assert f"{SMALL} with 5 dimensions of" in shown
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        status, shown = run("check")
        assert status == 1
        assert shown.count("cannot be checked") == 2
        monkeypatch.setenv("OPENAI_API_KEY", fake.api_key)
        status, shown = run("check")
        assert status == 0, shown
        assert "2 of 2 texts computed anew: largest difference 0, smallest cosine 1.000000" in shown
        right = fake.vector
        fake.vector = lambda model, text, size: -right(model, text, size)
        status, shown = run("check", "--all")
        assert status == 1
        assert "smallest cosine -1.000000, 2 beyond 1e-05" in shown
