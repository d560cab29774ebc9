"""The OpenAI client in mode `fake`: fake vectors, and never a request."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.openai_runs import SMALL

from pytest_embedcache.dropin.openai import OpenAIStandIn
from pytest_embedcache.dropin.switch import Switch
from pytest_embedcache.errors import FakeModelError
from pytest_embedcache.testing.fake_openai import fake_openai
from pytest_embedcache.testing.fake_remote import FakeRemote
from pytest_embedcache.testing.fakes import FakeEmbeddingModel, FakeEmbeddingModels, fake_cache

openai = pytest.importorskip("openai")

#: Nobody is there: a request is an error at once.
NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Switch]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    cache = fake_cache()
    stand_in = OpenAIStandIn(
        fake=lambda remote: FakeRemote(remote, FakeEmbeddingModels()), cache=lambda: cache
    )
    found = Switch([stand_in])
    found.install()
    found.started = True
    yield found
    found.remove()


@pytest.fixture
def client(switch: Switch) -> Iterator[Any]:
    with openai.OpenAI(base_url=NOWHERE, max_retries=0) as found:
        yield found


@pytest.mark.parametrize("started", [True, False])
def test_vectors_are_those_of_the_fake_and_nothing_is_sent(
    client: Any, switch: Switch, started: bool
) -> None:
    """Without a key, of the name's dimension or the one asked for, in each format; usage is 0.

    While conftests are imported, too."""
    switch.started = started
    texts = ["a cat", "a dog", "a cat"]
    found = client.embeddings.create(model=SMALL, input=texts)
    want = FakeEmbeddingModel(SMALL).encode(texts)
    assert np.array_equal(np.array([row.embedding for row in found.data], np.float32), want)
    assert want.shape == (3, 1536)
    assert (found.usage.total_tokens, found.embedcache) == (0, {"texts": 3, "sent": 0})
    coded = client.embeddings.create(model=SMALL, input="a cat", encoding_format="base64")
    assert base64.b64decode(coded.data[0].embedding) == want[0].tobytes()
    cut = client.embeddings.create(model=SMALL, input="a cat", dimensions=7)
    row = np.array(cut.data[0].embedding)
    assert row.shape == (7,)
    assert np.linalg.norm(row) == pytest.approx(1)


def test_async_clients_get_the_same(switch: Switch) -> None:
    """From a loop that sends nothing."""

    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=NOWHERE, max_retries=0) as made:
            return await made.embeddings.create(model="mine", input="a", encoding_format="float")

    row = np.array(asyncio.run(ask()).data[0].embedding, np.float32)
    assert np.array_equal(row, FakeEmbeddingModel("mine").encode("a"))


@pytest.mark.parametrize(
    "options", [{"input": [1, 2]}, {"input": []}, {"input": "a", "extra_body": {"x": 1}}]
)
def test_what_a_fake_cannot_answer_is_an_error_and_no_request(
    client: Any, options: dict[str, Any]
) -> None:
    """Token arrays, nothing at all, and arguments whose influence is not known."""
    with pytest.raises(FakeModelError, match=r"is a fake in this run.*dropin=False"):
        client.embeddings.create(model=SMALL, **options)
    with pytest.raises(FakeModelError):
        client.embeddings.with_raw_response.create(model=SMALL, input="a")


def test_dimensions_that_no_fake_has_are_an_error(client: Any) -> None:
    """As the service has it."""
    with pytest.raises(ValueError, match="dimension=0 cannot be used"):
        client.embeddings.create(model=SMALL, input="a", dimensions=0)


def test_a_test_that_says_no_and_the_fixture_have_their_own(client: Any, switch: Switch) -> None:
    """`dropin=False` asks the service; `fake_openai` is in this process, and is asked."""
    with switch.off(), pytest.raises(openai.APIConnectionError):
        client.embeddings.create(model=SMALL, input="a")
    with fake_openai() as fake:
        fake.client().embeddings.create(model=SMALL, input="a")
        assert fake.texts == ["a"]
