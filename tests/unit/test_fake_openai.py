"""The real `openai` client against the fake service: formats, errors, retries, and spying."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from pytest_embedcache.testing.fake_model import fake_vector
from pytest_embedcache.testing.fake_openai import FakeOpenAI, fake_openai

openai = pytest.importorskip("openai")

SMALL = "text-embedding-3-small"


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with fake_openai() as found:
        yield found


def vectors(response: object) -> np.ndarray:
    """The rows of a response, in its order."""
    return np.array([row.embedding for row in response.data], dtype=np.float32)  # type: ignore[attr-defined]


def expected(*texts: str) -> np.ndarray:
    return np.stack([fake_vector(SMALL, text, 1536) for text in texts])


def test_clients_of_their_own_making_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OpenAI()` finds it by the environment, and `AzureOpenAI()` where it is in use."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://theirs.openai.azure.com")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "theirs")
    with fake_openai() as fake:
        with openai.OpenAI() as client:
            found = client.embeddings.create(model=SMALL, input=["a", "b"])
        with openai.AzureOpenAI(api_version="2024-10-21") as azure:
            also = azure.embeddings.create(model=SMALL, input=["a", "b"])
        assert np.array_equal(vectors(found), expected("a", "b"))
        assert np.array_equal(vectors(also), expected("a", "b"))
        assert found.usage.total_tokens == 2
        assert [request.path.partition("?")[0] for request in fake.requests] == [
            "/v1/embeddings",
            f"/openai/deployments/{SMALL}/embeddings",
        ]
        assert fake.load_count == 2


def test_the_module_client_is_the_fakes_for_the_test_alone() -> None:
    """`openai.embeddings` keeps no client that leads to a service which is gone."""
    for text in ("a", "b"):
        with fake_openai() as fake:
            found = openai.embeddings.create(model=SMALL, input=text)
            assert fake.texts == [text]
            assert np.array_equal(vectors(found), expected(text))
    assert openai._client is openai.http_client is openai.azure_endpoint is None


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a variable was set before, and where none was."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    before = dict(os.environ)
    with fake_openai() as fake:
        assert os.environ["OPENAI_API_KEY"] == fake.api_key
        assert os.environ["NO_PROXY"] == "example.org,127.0.0.1"
    assert dict(os.environ) == before


def test_both_formats_are_what_the_client_makes_of_them(fake: FakeOpenAI) -> None:
    """base64 is a string, float a list; without a format the client decodes what it asked for."""
    client = fake.client()
    raw = client.embeddings.create(model=SMALL, input="a", encoding_format="base64")
    assert base64.b64decode(raw.data[0].embedding) == expected("a").tobytes()
    for options in ({}, {"encoding_format": "float"}):
        found = client.embeddings.create(model=SMALL, input="a", **options)
        assert np.array_equal(vectors(found), expected("a"))
    assert [request.body.get("encoding_format") for request in fake.requests] == [
        "base64",
        "base64",
        "float",
    ]


def test_async_clients_are_served_too(fake: FakeOpenAI) -> None:
    """The same vectors, and both requests are seen."""

    async def both() -> list[np.ndarray]:
        async with fake.async_client() as client:
            create = client.embeddings.create
            found = await asyncio.gather(*(create(model=SMALL, input=text) for text in "ab"))
            return [vectors(one) for one in found]

    assert np.array_equal(np.concatenate(asyncio.run(both())), expected("a", "b"))
    assert sorted(fake.texts) == ["a", "b"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (429, "RateLimitError"),
        (503, "InternalServerError"),
    ],
)
def test_errors_are_the_clients_own(fake: FakeOpenAI, status: int, error: str) -> None:
    """Each status is the exception that the client has for it, with the service's code."""
    fake.fail_next(status, code="because")
    with pytest.raises(getattr(openai, error)) as caught:
        fake.client(max_retries=0).embeddings.create(model=SMALL, input="a")
    assert caught.value.code == "because"
    assert caught.value.response.headers["x-request-id"].startswith("req_fake_")
    assert fake.texts == []


def test_after_a_rate_limit_the_client_tries_again(fake: FakeOpenAI) -> None:
    """`Retry-After` is there, and the third request is answered."""
    fake.rate_limit_next(retry_after=0.001, times=2)
    found = fake.client(max_retries=2).embeddings.create(model=SMALL, input="a")
    assert np.array_equal(vectors(found), expected("a"))
    assert [request.status for request in fake.requests] == [429, 429, 200]
    fake.rate_limit_next(retry_after=30)
    with pytest.raises(openai.RateLimitError) as caught:
        fake.client(max_retries=0).embeddings.create(model=SMALL, input="a")
    assert caught.value.response.headers["retry-after"] == "30"


def test_rows_and_vectors_go_wrong_on_request(fake: FakeOpenAI) -> None:
    """One answer each; the one after it is right."""
    client = fake.client()

    def rows() -> list[tuple[int, np.ndarray]]:
        found = client.embeddings.create(model=SMALL, input=["a", "b", "c"])
        return [(row.index, np.array(row.embedding, dtype=np.float32)) for row in found.data]

    right = expected("a", "b", "c")
    fake.fewer_rows_next()
    assert [index for index, _ in rows()] == [0, 1]
    fake.reorder_next()
    found = rows()
    assert [index for index, _ in found] == [2, 1, 0]
    assert all(np.array_equal(row, right[index]) for index, row in found)
    fake.wrong_dimension_next(7)
    assert {row.shape for _, row in rows()} == {(7,)}
    fake.nan_next()
    assert np.isnan(rows()[0][1][0])
    assert np.array_equal(np.stack([row for _, row in rows()]), right)


def test_a_request_hangs_until_it_is_released(fake: FakeOpenAI) -> None:
    """Others are answered meanwhile."""
    hang = fake.hang_next()
    client = fake.client()
    found: list[object] = []
    waiting = threading.Thread(
        target=lambda: found.append(client.embeddings.create(model=SMALL, input="slow"))
    )
    waiting.start()
    assert hang.reached.wait(120)
    client.embeddings.create(model=SMALL, input="quick")
    assert (fake.texts, found) == (["quick"], [])
    hang.release()
    waiting.join(120)
    assert np.array_equal(vectors(found[0]), expected("slow"))


def test_the_end_lets_go_of_what_hangs(capfd: pytest.CaptureFixture[str]) -> None:
    """A client that has given up is no error on the server's side."""
    with fake_openai() as fake:
        fake.hang_next()
        with pytest.raises(openai.APITimeoutError):
            fake.client(max_retries=0, timeout=0.05).embeddings.create(model=SMALL, input="a")
    assert capfd.readouterr().err == ""
