"""Tiers that fail, lie about themselves and are damaged at random, against a pure function."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.redis_server import RedisServer

from pytest_embedcache.errors import StoreError
from pytest_embedcache.testing.contracts import MODEL, OTHER_MODEL, key_of, vector_of
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.redis import RedisStore
from pytest_embedcache.vectors.sqlite import SqliteStore
from pytest_embedcache.vectors.store import StoreStats, VectorStore
from pytest_embedcache.vectors.tiered import TieredStore

MODELS = (MODEL, OTHER_MODEL)
ERRORS: list[Callable[[], Exception]] = [
    lambda: StoreError("flaky", "here", "it failed", "Try again."),
    lambda: OSError(28, "No space left on device"),
    lambda: sqlite3.OperationalError("database is locked"),
    lambda: RuntimeError("a driver's own"),
    lambda: KeyError("a bug"),
]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Flaky:
    """A store that fails now and then: before it has done anything, or after."""

    def __init__(self, store: VectorStore, dice: random.Random, share: float) -> None:
        self.name = f"flaky_{store.name}"
        self._store = store
        self._dice = dice
        self._share = share

    def _perhaps(self) -> None:
        if self._dice.random() < self._share:
            raise self._dice.choice(ERRORS)()

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        self._perhaps()
        return self._store.get_many(fingerprint, keys)

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        self._perhaps()
        won = self._store.put_many(fingerprint, items)
        self._perhaps()
        return won

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        self._perhaps()
        return self._store.delete_many(fingerprint, keys)

    def clear(self, fingerprint: str | None = None) -> int:
        self._perhaps()
        return self._store.clear(fingerprint)

    def stats(self) -> StoreStats:
        self._perhaps()
        return self._store.stats()

    def close(self) -> None:
        self._store.close()


def answer(store: TieredStore, model: str, names: Sequence[int]) -> dict[bytes, np.ndarray]:
    """What a caller does: asks, computes what is missing, stores it, and hands out what won."""
    by_key = {key_of((model, name)): name for name in names}
    found = store.get_many(model, list(by_key))
    computed = {k: right(model, name) for k, name in by_key.items() if k not in found}
    return {**found, **computed, **store.put_many(model, computed)}


def right(model: str, name: int) -> np.ndarray:
    return vector_of((model, name), 3 + name % 7 + 5 * MODELS.index(model))


def check(store: TieredStore, dice: random.Random, size: int, names: int = 2000) -> int:
    """One random batch; returns how many vectors were compared, byte for byte."""
    model = dice.choice(MODELS)
    asked = [dice.randrange(names) for _ in range(dice.randrange(1, size))]
    given = answer(store, model, asked)
    for name in asked:
        assert given[key_of((model, name))].tobytes() == right(model, name).tobytes()
    return len(asked)


def flip_a_bit(path: Path, dice: random.Random) -> None:
    """Damage one stored value behind the store's back."""
    database = sqlite3.connect(path, timeout=30)
    row = database.execute("SELECT id, value FROM vectors ORDER BY random() LIMIT 1").fetchone()
    if row is not None:
        value = bytearray(row[1])
        value[dice.randrange(len(value))] ^= 1 << dice.randrange(8)
        change = "UPDATE vectors SET value = ? WHERE id = ?"
        database.execute(change, (bytes(value), row[0]))
    database.commit()
    database.close()


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.stress)])
def test_nothing_a_tier_does_makes_a_wrong_answer(tmp_path: Path, count: int) -> None:
    """Random batches over failing, forgetful and damaged tiers: every vector is the right one."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    clock = Clock()
    disk = SqliteStore(tmp_path, max_bytes=2**20)
    memory = MemoryStore(max_entries=300, ttl=50.0, clock=clock)
    far = MemoryStore(max_entries=1500)
    tiers: list[VectorStore] = [Flaky(tier, dice, 0.05) for tier in (memory, disk, far)]
    store = TieredStore(tiers, clock=clock)
    compared = 0
    while compared < count:
        compared += check(store, dice, 60)
        clock.now += dice.random()
        chance = dice.random()
        if chance < 0.03:
            flip_a_bit(disk.path, dice)
        elif chance < 0.04:
            model, names = dice.choice(MODELS), range(dice.randrange(100))
            try:
                store.delete_many(model, [key_of((model, name)) for name in names])
            except Exception:
                pass  # a deletion that failed is the caller's to know
    print(f"{compared} vectors compared; {store.tier_stats()}")
    assert all(tier.errors > 0 for tier in store.tier_stats())
    assert all(tier.hits > 0 for tier in store.tier_stats())
    store.close()


@pytest.mark.parametrize("count", [8_000, pytest.param(200_000, marks=pytest.mark.stress)])
def test_threads_over_failing_tiers_get_right_answers(tmp_path: Path, count: int) -> None:
    """The same from six threads at once."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    tiers: list[VectorStore] = [
        Flaky(MemoryStore(max_entries=300), random.Random(seed), 0.03),
        Flaky(SqliteStore(tmp_path, max_bytes=2**20), random.Random(seed + 1), 0.03),
    ]
    # Breakers let everything through at once again: here the failing is the point.
    clock = Clock()
    store = TieredStore(tiers, clock=clock)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        dice = random.Random(seed + 10 + number)
        compared = 0
        try:
            while compared < count // 6:
                compared += check(store, dice, 40)
                clock.now += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store.close()


# ------------------------------------------------------------------------------ a real Redis


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.mark.parametrize("count", [16_000, pytest.param(300_000, marks=pytest.mark.stress)])
def test_redis_killed_and_restarted_in_the_middle_of_a_run(server: RedisServer, count: int) -> None:
    """While the server dies and comes back, again and again, every answer is right."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    clock = Clock()
    redis = RedisStore(server.url, timeout=120, clock=clock)  # a busy machine is no bug
    store = TieredStore([MemoryStore(max_entries=100), redis], clock=clock)
    failures: list[BaseException] = []
    answers = threading.Semaphore(0)

    def work(number: int) -> None:
        dice = random.Random(seed + number)
        compared = 0
        try:
            while compared < count // 4:
                compared += check(store, dice, 60, names=300)
                clock.now += 10.0  # pauses end soon
                answers.release()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    deaths = 0
    while any(thread.is_alive() for thread in threads):
        for change in (server.kill, server.start):
            while answers.acquire(blocking=False):
                pass
            heard = 0  # answers between death and return, and after
            while heard < 10 and any(thread.is_alive() for thread in threads):
                heard += answers.acquire(timeout=0.05)
            change()
        deaths += 1
    for thread in threads:
        thread.join()
    assert failures == []
    assert deaths > 2
    # It is back: the very same store uses it again.
    clock.now += 1000
    fresh = range(10_000, 10_005)
    answer(store, MODEL, fresh)
    assert len(redis.get_many(MODEL, [key_of((MODEL, name)) for name in fresh])) == 5
    tiers: dict[str, Any] = {tier.name: tier for tier in store.tier_stats()}
    print(f"{deaths} deaths; {tiers['redis']}")
    assert tiers["redis"].errors > 0
    assert tiers["redis"].hits > 0
    store.close()
