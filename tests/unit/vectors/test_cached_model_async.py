"""`CachedModel` beside an event loop, and what it counts."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from support.encoders import right, world
from support.toys import DEADLOCK, Gate

from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.tiered import TieredStore

TEXTS = ["a", "b"]


# ------------------------------------------------------------------------------ async


async def until(event: threading.Event, ticks: list[int]) -> None:
    """Run the loop until `event`, counting its rounds: a loop that is blocked makes none."""
    while not event.is_set():
        ticks[0] += 1
        await asyncio.sleep(0)


def test_the_event_loop_goes_on_while_a_model_works() -> None:
    """It makes rounds while the model is in the middle of an `encode`."""
    w = world()
    gate = Gate()
    w.inner().before = gate

    async def main() -> bytes:
        task = asyncio.create_task(w.model().aencode(TEXTS))
        ticks = [0]
        await asyncio.wait_for(until(gate.reached, ticks), DEADLOCK)
        for _ in range(100):  # the model is in its gate now
            await asyncio.sleep(0)
        assert not task.done()
        gate.open.set()
        found: bytes = (await task).tobytes()
        return found

    assert asyncio.run(main()) == right(TEXTS)


def test_all_three_are_there_for_async_callers() -> None:
    """Each with the role, the arguments and the result of its namesake."""
    w = world(prompts={"query": "q: ", "document": "d: "})

    async def main() -> list[Any]:
        model = w.model()
        return await asyncio.gather(
            model.aencode(TEXTS, prompt="x: "),
            model.aencode_query(TEXTS),
            model.aencode_document("a", None, None, 4),
        )

    plain, query, document = asyncio.run(main())
    assert plain.tobytes() == right(TEXTS, "x: ")
    assert query.tobytes() == right(TEXTS, "q: ")
    assert document.tobytes() == right(["a"], "d: ")
    assert document.shape == (8,)


def test_a_cancelled_caller_cancels_nothing_that_others_wait_for() -> None:
    """The first caller, whose thread computes, is cancelled: the second gets his vectors all the
    same, and they are computed once."""
    w = world()
    gate = Gate()
    w.inner().before = gate
    claims = threading.Semaphore(0)
    claim = w.cache.flights.claim

    def counting(*args: Any) -> Any:
        found = claim(*args)
        claims.release()
        return found

    w.cache.flights.claim = counting  # type: ignore[method-assign]

    async def main() -> bytes:
        first = asyncio.create_task(w.model().aencode(TEXTS))
        second = asyncio.create_task(w.model().aencode(TEXTS))
        for _ in range(2):
            assert await asyncio.to_thread(claims.acquire, timeout=DEADLOCK)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.open.set()
        found: bytes = (await second).tobytes()
        return found

    assert asyncio.run(main()) == right(TEXTS)
    assert len(w.batches()) == 1
    assert w.tally()["computed"] == 2


def test_an_error_reaches_the_caller_who_awaits() -> None:
    """As it is."""
    w = world()

    def fail(texts: object) -> None:
        raise RuntimeError("out of memory")

    w.inner().before = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        asyncio.run(w.model().aencode(TEXTS))


# ------------------------------------------------------------------------------ counts


def test_the_counts_add_up() -> None:
    """Every text that was asked for is found, computed, shared, bypassed or untrusted."""
    w = world(MemoryStore())
    model = w.model()
    model.encode(["a", "b", "a"])
    model.encode(["b", "c"])
    model.encode(["a"], output_value=None)
    model.encode(["d"], image_size=3)
    model.unwrap()
    model.encode(["a", "e", "e"])
    tally = w.tally()
    parts = ("computed", "shared", "bypassed", "untrusted")
    assert tally["asked"] == sum(tally["found"].values()) + sum(tally[part] for part in parts)
    assert tally["found"] == {"memory": 1}
    assert (tally["computed"], tally["shared"]) == (3, 1)
    assert (tally["bypassed"], tally["untrusted"]) == (2, 3)
    assert tally["encode_seconds"] > 0
    json.dumps(w.cache.tallies.as_dict())


def test_each_tier_counts_what_it_had() -> None:
    """Names of the tiers, with the texts whose vector they had first."""

    class Lower(MemoryStore):
        name = "lower"

    upper, lower = MemoryStore(), Lower()
    w = world(upper, lower)
    w.model().encode(["a", "b"])
    upper.delete_many(w.model().fingerprint, w.model().keys(["b"]))
    w.model().encode(["a", "b"])
    assert w.tally()["found"] == {"memory": 1, "lower": 1}


def test_counts_can_be_reset() -> None:
    """For a test that looks at them."""
    w = world()
    w.model().encode("a")
    w.cache.tallies.reset()
    assert w.cache.tallies.as_dict() == {}


def test_closing_the_cache_closes_the_store() -> None:
    """What a memory store held is gone."""
    store = MemoryStore()
    w = world(store)
    w.model().encode("a")
    w.cache.close()
    assert isinstance(w.cache.store, TieredStore)
    assert store.stats().entries == 0
