"""The OpenAI client's `embeddings.create` from the store: per text, and never a wrong vector."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.openai_runs import SMALL, dropped_in, expected, memory, served, vectors

from pytest_embedcache.errors import EncodeError
from pytest_embedcache.testing.fake_openai import FakeOpenAI, fake_openai
from pytest_embedcache.vectors.cache import VectorCache

openai = pytest.importorskip("openai")


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with served() as found:
        yield found


@pytest.fixture
def cache(fake: FakeOpenAI) -> Iterator[VectorCache]:
    """The store of this process, whose client is the drop-in's."""
    made = memory()
    with dropped_in(made, fake):
        yield made


@pytest.fixture
def create(fake: FakeOpenAI, cache: VectorCache) -> Any:
    """`create(texts)` of a client that does not try again."""
    client = fake.client(max_retries=0)
    return lambda texts, model=SMALL, **options: client.embeddings.create(
        model=model, input=texts, **options
    )


# ------------------------------------------------------------------------------ per text


def test_a_batch_with_one_new_text_costs_one_text(fake: FakeOpenAI, create: Any) -> None:
    """99 of 100 are found: one is sent and paid for, and every row is where its text is."""
    texts = [f"text {i}" for i in range(100)]
    create([*texts[:42], *texts[43:]])
    found = create(texts)
    assert np.array_equal(vectors(found), expected(*texts))
    assert [row.index for row in found.data] == list(range(100))
    assert fake.batch_sizes == [99, 1]
    assert fake.texts[-1] == "text 42"
    assert found.usage.total_tokens == found.usage.prompt_tokens == fake.requests[-1].tokens == 2
    assert found.embedcache == {"texts": 100, "sent": 1}


def test_what_is_found_costs_nothing(fake: FakeOpenAI, cache: VectorCache, create: Any) -> None:
    """No request, a usage of 0, and the response is the client's own type; the tally says so."""
    create("a")
    found = create("a")
    assert isinstance(found, openai.types.CreateEmbeddingResponse)
    assert (found.object, found.model, found.data[0].object) == ("list", SMALL, "embedding")
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (0, 0)
    assert found.embedcache == {"texts": 1, "sent": 0}
    assert fake.batch_sizes == [1]
    tally = cache.tallies.as_dict()[SMALL]
    assert (tally["asked"], tally["found"], tally["computed"]) == (2, {"memory": 1}, 1)


def test_a_text_given_twice_is_sent_once(fake: FakeOpenAI, create: Any) -> None:
    """And has its vector in both places."""
    found = create(["a", "b", "a"])
    assert np.array_equal(vectors(found), expected("a", "b", "a"))
    assert fake.texts == ["a", "b"]


def test_more_than_the_service_takes_is_the_services_error(fake: FakeOpenAI, create: Any) -> None:
    """What is missing goes out in one request, which has the limits that it has without us."""
    with pytest.raises(openai.BadRequestError) as caught:
        create([str(i) for i in range(2049)])
    assert caught.value.code == "array_above_max_length"
    create([str(i) for i in range(1, 2049)])
    found = create([str(i) for i in range(2049)])
    assert fake.batch_sizes == [2048, 1]
    assert np.array_equal(vectors(found)[[0, 2048]], expected("0", "2048"))


def test_random_batches_are_what_the_client_alone_returns(fake: FakeOpenAI) -> None:
    """In every format, with texts new and old, the whole response but for the usage, bit by bit."""
    chance = random.Random(4)
    pool = [f"{i} é\U0001f600" * (i % 3) + "x" for i in range(30)]
    calls = []
    for _ in range(40):
        options: dict[str, Any] = {}
        if form := chance.choice((None, "float", "base64")):
            options["encoding_format"] = form
        if cut := chance.choice((None, None, 5)):
            options["dimensions"] = cut
        texts: Any = [chance.choice(pool) for _ in range(chance.randint(1, 9))]
        calls.append({"input": chance.choice((texts, tuple(texts), texts[0])), **options})
    client = fake.client()
    alone = [client.embeddings.create(model=SMALL, **call) for call in calls]
    sent = len(fake.texts)
    with dropped_in(memory(), fake):
        found = [client.embeddings.create(model=SMALL, **call) for call in calls]
    for one, other in zip(alone, found, strict=True):
        # base64 is a string where the client's own type has numbers, of which pydantic would warn.
        mine = other.model_dump(exclude={"usage", "embedcache"}, warnings=False)
        assert mine == one.model_dump(exclude={"usage"}, warnings=False)
    assert len(fake.texts) - sent == sum(f.embedcache["sent"] for f in found) < sent / 2
    usages = [response.usage.total_tokens for response in found]
    assert sum(usages) == fake.tokens - sum(response.usage.total_tokens for response in alone)


# ------------------------------------------------------------------------------ async, threads


def test_async_is_the_same(fake: FakeOpenAI, cache: VectorCache) -> None:
    """Sync and async share the store, and the partial hit is one request for what is missing."""
    fake.client().embeddings.create(model=SMALL, input=["a", "b"])

    async def ask() -> Any:
        async with fake.async_client() as client:
            return await client.embeddings.create(model=SMALL, input=["b", "c", "a"])

    found = asyncio.run(ask())
    assert np.array_equal(vectors(found), expected("b", "c", "a"))
    assert fake.texts == ["a", "b", "c"]
    assert found.embedcache == {"texts": 3, "sent": 1}


def test_identical_misses_at_once_are_one_request(fake: FakeOpenAI, cache: VectorCache) -> None:
    """Twelve coroutines and one hanging request; meanwhile others are answered."""
    hang = fake.hang_next()

    async def ask() -> tuple[Any, Any]:
        async with fake.async_client() as client:
            create = client.embeddings.create
            many = [asyncio.ensure_future(create(model=SMALL, input=["a", "b"])) for _ in range(12)]
            await asyncio.to_thread(hang.reached.wait, 30)
            other = await create(model=SMALL, input=["c"])
            hang.release()
            return other, await asyncio.gather(*many)

    other, many = asyncio.run(ask())
    assert fake.texts == ["c", "a", "b"]
    assert np.array_equal(vectors(other), expected("c"))
    assert all(np.array_equal(vectors(one), expected("a", "b")) for one in many)
    assert sorted(one.embedcache["sent"] for one in many) == [0] * 11 + [2]
    assert sum(one.usage.total_tokens for one in many) == fake.requests[-1].tokens


def test_threads_share_a_request_too(fake: FakeOpenAI, create: Any) -> None:
    """One of two threads sends the text that both want; no lock keeps a third one waiting."""
    hang = fake.hang_next()
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(create("a"))) for _ in range(2)]
    threads[0].start()
    assert hang.reached.wait(120)
    threads[1].start()
    create("b")
    hang.release()
    for thread in threads:
        thread.join(120)
    assert fake.texts == ["b", "a"]
    assert [vectors(one).tobytes() for one in found] == [expected("a").tobytes()] * 2


def test_a_cancelled_call_takes_nothing_from_the_others(
    fake: FakeOpenAI, cache: VectorCache
) -> None:
    """Who waits for the same text gets it from the request that goes on."""
    hang = fake.hang_next()

    async def ask() -> Any:
        async with fake.async_client() as client:
            create = client.embeddings.create
            first = asyncio.ensure_future(create(model=SMALL, input="a"))
            await asyncio.to_thread(hang.reached.wait, 30)
            second = asyncio.ensure_future(create(model=SMALL, input="a"))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            hang.release()
            return await second

    assert np.array_equal(vectors(asyncio.run(ask())), expected("a"))
    assert fake.texts == ["a"]


# ------------------------------------------------------------------------------ straight through


@pytest.mark.parametrize(
    "arguments",
    [
        {"input": [1, 2, 3]},
        {"input": [[1, 2], [3]]},
        {"input": ["a"], "extra_body": {"input_type": "query"}},
        {"input": ["a"], "extra_headers": {"X-Trace": "1"}},
        {"input": ["a"], "extra_query": {"trace": "1"}},
    ],
)
def test_what_is_not_known_goes_straight_to_the_service(
    fake: FakeOpenAI, cache: VectorCache, arguments: dict[str, Any]
) -> None:
    """Each time, and the response is the service's own."""
    client = fake.client()
    for _ in range(2):
        found = client.embeddings.create(model=SMALL, **arguments)
        assert not hasattr(found, "embedcache")
    assert [request.status for request in fake.requests] == [200, 200]
    assert cache.store is not None
    assert cache.store.stats().entries == 0


def test_raw_and_streamed_responses_are_the_clients(fake: FakeOpenAI, cache: VectorCache) -> None:
    """`with_raw_response` and `with_streaming_response` see the headers of a real answer."""
    client = fake.client()
    raw = client.embeddings.with_raw_response.create(model=SMALL, input="a")
    assert raw.headers["x-request-id"].startswith("req_fake_")
    assert np.array_equal(vectors(raw.parse()), expected("a"))
    with client.embeddings.with_streaming_response.create(model=SMALL, input="a") as streamed:
        assert streamed.status_code == 200
        assert np.array_equal(vectors(streamed.parse()), expected("a"))
    assert fake.texts == ["a", "a"]


def test_neutral_arguments_go_along(fake: FakeOpenAI, create: Any) -> None:
    """`user` and `timeout` change no vector: they are sent on, and the text is found without."""
    create("a", user="me", timeout=20)
    assert fake.requests[0].body["user"] == "me"
    assert create("a").embedcache["sent"] == 0


def test_the_wrong_call_is_the_clients_error(create: Any, fake: FakeOpenAI) -> None:
    """Positional, missing and unknown arguments; the signature is the client's."""
    client = fake.client()
    with pytest.raises(TypeError):
        client.embeddings.create("a", SMALL)
    with pytest.raises(TypeError):
        client.embeddings.create(input="a")
    with pytest.raises(TypeError):
        create("a", colour="red")
    assert "encoding_format" in inspect.signature(client.embeddings.create).parameters
    assert fake.requests == []


# ------------------------------------------------------------------------------ bad days


def test_errors_of_the_service_are_the_callers(
    fake: FakeOpenAI, cache: VectorCache, create: Any
) -> None:
    """A rate limit reaches the caller as it is, stores nothing, and the next call asks again."""
    fake.rate_limit_next(retry_after=7)
    with pytest.raises(openai.RateLimitError) as caught:
        create(["a", "b"])
    assert caught.value.response.headers["retry-after"] == "7"
    assert np.array_equal(vectors(create(["a", "b"])), expected("a", "b"))
    with pytest.raises(openai.NotFoundError):
        create("a", model="gpt-9")
    with pytest.raises(openai.BadRequestError):
        create(["a", ""])
    with pytest.raises(openai.BadRequestError):
        create([])
    assert fake.texts == ["a", "b"]


def test_the_clients_own_retries_stay(fake: FakeOpenAI, cache: VectorCache) -> None:
    """Two refusals, then the vector."""
    fake.rate_limit_next(times=2)
    found = fake.client(max_retries=2).embeddings.create(model=SMALL, input="a")
    assert np.array_equal(vectors(found), expected("a"))
    assert [request.status for request in fake.requests] == [429, 429, 200]


def test_reordered_rows_are_put_right_by_their_index(fake: FakeOpenAI, create: Any) -> None:
    """Stored, too: what is found later is right."""
    fake.reorder_next()
    assert np.array_equal(vectors(create(["a", "b", "c"])), expected("a", "b", "c"))
    assert np.array_equal(vectors(create(["c", "a"])), expected("c", "a"))
    assert fake.batch_sizes == [3]


@pytest.mark.parametrize("spoil", ["fewer", "twice"])
def test_rows_that_fit_no_text_are_an_error(
    fake: FakeOpenAI, cache: VectorCache, create: Any, spoil: str
) -> None:
    """Fewer rows than texts, or two of one index: nothing of it is stored."""
    if spoil == "fewer":
        fake.fewer_rows_next()
    else:
        fake._next(1, rows=lambda rows: [rows[0], {**rows[1], "index": 0}])
    with pytest.raises(EncodeError, match="2 texts"):
        create(["a", "b"])
    assert cache.store is not None
    assert cache.store.stats().entries == 0
    assert np.array_equal(vectors(create(["a", "b"])), expected("a", "b"))


def test_a_service_that_gives_no_index_is_read_in_order(fake: FakeOpenAI, create: Any) -> None:
    """As every client of it does."""
    fake._next(1, rows=lambda rows: [{"embedding": row["embedding"]} for row in rows])
    assert np.array_equal(vectors(create(["a", "b"])), expected("a", "b"))


def test_a_service_that_does_not_know_base64_is_understood(fake: FakeOpenAI, create: Any) -> None:
    """It sends numbers all the same; whoever wants base64 gets it."""
    numbers = expected("a").tolist()[0]
    fake._next(1, rows=lambda rows: [{**row, "embedding": numbers} for row in rows])
    assert np.array_equal(vectors(create(["a"])), expected("a"))
    found = create(["a"], encoding_format="base64").data[0].embedding
    assert isinstance(found, str)


def test_another_dimension_replaces_what_was_stored(fake: FakeOpenAI, create: Any) -> None:
    """A vendor who changes a model: the whole batch is computed anew, of one length."""
    create(["a", "b"])
    fake.models[SMALL] = 6
    found = vectors(create(["a", "b", "c"]))
    assert np.array_equal(found, expected("a", "b", "c", size=6))
    assert fake.texts == ["a", "b", "c", "a", "b", "c"]


def test_nan_is_the_callers_to_see_and_nobody_elses(fake: FakeOpenAI, create: Any) -> None:
    """It is not stored."""
    fake.nan_next()
    assert np.isnan(vectors(create("a"))[0, 0])
    assert np.array_equal(vectors(create("a")), expected("a"))


# ------------------------------------------------------------------------------ on and off


def test_live_vectors_are_the_services(fake: FakeOpenAI) -> None:
    """Without a store each call is a request."""
    with dropped_in(VectorCache(None), fake):
        client = fake.client()
        for _ in range(2):
            client.embeddings.create(model=SMALL, input="a")
    assert fake.texts == ["a", "a"]


def test_afterwards_the_client_is_itself(fake: FakeOpenAI) -> None:
    """Its methods are the originals, and one that was kept behaves like them."""
    from openai.resources.embeddings import AsyncEmbeddings, Embeddings

    before = (Embeddings.create, AsyncEmbeddings.create, openai.OpenAI.__init__)
    with dropped_in(memory(), fake):
        assert Embeddings.create is not before[0]
        kept = fake.client().embeddings.create
        kept(model=SMALL, input="a")
    assert (Embeddings.create, AsyncEmbeddings.create, openai.OpenAI.__init__) == before
    kept(model=SMALL, input="a")
    assert fake.texts == ["a", "a"]


def test_a_test_that_says_no_asks_the_service(fake: FakeOpenAI) -> None:
    """And so does a conftest that is imported before the run's settings are in force."""
    with dropped_in(memory(), fake) as switch:
        client = fake.client()
        client.embeddings.create(model=SMALL, input="a")
        with switch.off():
            client.embeddings.create(model=SMALL, input="a")
        switch.started = False
        client.embeddings.create(model=SMALL, input="a")
    assert fake.texts == ["a"] * 3


def test_what_somebody_else_changed_since_stays(
    fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instrumentation that wrapped ours is not thrown out."""
    from openai.resources.embeddings import Embeddings

    monkeypatch.setattr(Embeddings, "create", Embeddings.create)  # put back at the end
    with dropped_in(memory(), fake):
        wrapped = Embeddings.create
        theirs = lambda self, **options: wrapped(self, **options)  # noqa: E731
        Embeddings.create = theirs
    assert Embeddings.create is theirs
    fake.client().embeddings.create(model=SMALL, input="a")
    assert fake.texts == ["a"]


def test_a_fake_is_never_cached() -> None:
    """What `fake_openai` answers is counted by the test, and comes into no store."""
    cache = memory()
    with dropped_in(cache), fake_openai() as fake:
        client = fake.client()
        for _ in range(2):
            client.embeddings.create(model=SMALL, input="a")
        assert fake.texts == ["a", "a"]
    assert cache.store is not None
    assert cache.store.stats().entries == 0
