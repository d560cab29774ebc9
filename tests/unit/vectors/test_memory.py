"""The memory store: the contract, its bounds and its clock."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from pytest_embedcache.testing.contracts import (
    MODEL,
    VectorStoreContract,
    equal,
    items_of,
    key_of,
    vector_of,
)
from pytest_embedcache.vectors.codec import HEADER_SIZE, decode, encode
from pytest_embedcache.vectors.memory import MemoryStore


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestMemoryStore(VectorStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


def test_the_least_recently_used_leaves_first() -> None:
    """Above the bound in entries, what was neither read nor put lately goes, and is counted."""
    store = MemoryStore(max_entries=3)
    store.put_many(MODEL, items_of("a", "b", "c"))
    store.get_many(MODEL, [key_of("a")])
    store.put_many(MODEL, items_of("d"))
    found = store.get_many(MODEL, [key_of(n) for n in "abcd"])
    assert equal(found, items_of("a", "c", "d"))
    assert store.stats().evictions == 1


def test_putting_again_is_a_use() -> None:
    """A vector that is put again, though it stays the old one, is not the next to leave."""
    store = MemoryStore(max_entries=2)
    store.put_many(MODEL, items_of("a", "b"))
    store.put_many(MODEL, items_of("a"))
    store.put_many(MODEL, items_of("c"))
    assert equal(store.get_many(MODEL, [key_of(n) for n in "abc"]), items_of("a", "c"))


def test_the_bound_in_bytes_holds() -> None:
    """However many vectors are put, their bytes stay within the bound."""
    store = MemoryStore(max_entries=None, max_bytes=10 * 32)
    for start in range(0, 100, 7):
        store.put_many(MODEL, items_of(*range(start, start + 7)))
        assert store.stats().bytes <= 10 * 32
    assert store.stats().entries == 10
    assert equal(
        store.get_many(MODEL, [key_of(n) for n in range(95, 105)]), items_of(*range(95, 105))
    )


def test_a_vector_above_the_bound_pushes_nothing_out() -> None:
    """A vector larger than the whole store is not kept, and the others stay."""
    store = MemoryStore(max_bytes=100)
    store.put_many(MODEL, items_of("a", "b"))
    assert store.put_many(MODEL, {key_of("huge"): vector_of("huge", 1000)}) == {}
    assert equal(store.get_many(MODEL, [key_of(n) for n in ("a", "b", "huge")]), items_of("a", "b"))


def test_a_lifetime_runs_from_when_it_was_put() -> None:
    """After the lifetime a vector is a miss and gives its room back; reads do not prolong it."""
    clock = Clock()
    store = MemoryStore(ttl=60.0, clock=clock)
    store.put_many(MODEL, items_of("a"))
    clock.now += 40
    store.put_many(MODEL, items_of("b"))
    assert equal(store.get_many(MODEL, [key_of("a"), key_of("b")]), items_of("a", "b"))
    clock.now += 20
    assert equal(store.get_many(MODEL, [key_of("a"), key_of("b")]), items_of("b"))
    assert store.stats().entries == 1
    assert store.stats().bytes == vector_of("b").nbytes


def test_an_expired_vector_does_not_win() -> None:
    """After the lifetime the next writer is the first."""
    clock = Clock()
    store = MemoryStore(ttl=60.0, clock=clock)
    store.put_many(MODEL, items_of("a"))
    clock.now += 60
    second = {key_of("a"): vector_of("second")}
    assert store.put_many(MODEL, second) == {}
    assert equal(store.get_many(MODEL, [key_of("a")]), second)
    assert store.stats().bytes == vector_of("second").nbytes


def test_a_found_vector_cannot_be_made_writable() -> None:
    """Not even by asking numpy for it."""
    store = MemoryStore()
    store.put_many(MODEL, items_of("a"))
    (vector,) = store.get_many(MODEL, [key_of("a")]).values()
    with pytest.raises(ValueError, match="WRITEABLE"):
        vector.flags.writeable = True


def test_a_kept_vector_keeps_nothing_else_alive() -> None:
    """A row of a batch is copied, whatever the batch lies on; what has bytes of its own is not."""
    store = MemoryStore()
    batch = np.frombuffer(np.arange(64, dtype=np.float32).tobytes(), np.float32).reshape(8, 8)
    alone = decode(encode(vector_of("a"), key_of("a")), key_of("a"))
    store.put_many(MODEL, {key_of("row"): batch[3], key_of("cut"): alone[:2], key_of("a"): alone})
    found = store.get_many(MODEL, [key_of(name) for name in ("row", "cut", "a")])
    assert [len(kept.base) for kept in found.values()] == [8 * 4, 2 * 4, HEADER_SIZE + alone.nbytes]
    assert found[key_of("a")] is alone
    assert found[key_of("row")].tolist() == [24.0, 25.0, 26.0, 27.0, 28.0, 29.0, 30.0, 31.0]
    assert found[key_of("cut")].tobytes() == alone[:2].tobytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # 3.12 and later
def test_a_fork_while_a_thread_writes_leaves_a_usable_store() -> None:
    """The child of a process whose other thread was in the store reads and writes at once."""
    store = MemoryStore()
    store.put_many(MODEL, items_of("a"))
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.put_many(MODEL, {key_of(number % 500): np.ones(2000, np.float32)})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                good = equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))
                good = good and store.put_many(MODEL, items_of("b")) == {}
                os._exit(0 if good else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
