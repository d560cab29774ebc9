"""The contract of a vector store."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from pytest_embedcache.errors import VectorError
from pytest_embedcache.testing.contracts.capabilities import Contract
from pytest_embedcache.testing.contracts.vectors import (
    DIMENSION,
    MODEL,
    OTHER_MODEL,
    equal,
    items_of,
    key_of,
    vector_of,
)
from pytest_embedcache.vectors.store import StoreStats, VectorStore

__all__ = ["VectorStoreContract"]


class VectorStoreContract(Contract):
    """What every `VectorStore` promises. The fixture `store` gives an empty one, with room for
    10,000 vectors of 64 components and a lifetime of a minute or more."""

    @pytest.fixture
    def store(self) -> VectorStore:
        raise NotImplementedError("a subclass gives the fixture `store`")

    # ------------------------------------------------------------------------------ reading

    def test_it_has_the_methods_of_the_protocol(self, store: VectorStore) -> None:
        """It is a `VectorStore`, and has a name for summaries and metrics."""
        assert isinstance(store, VectorStore)
        assert store.name
        assert store.name.isidentifier()

    def test_an_empty_store_finds_nothing(self, store: VectorStore) -> None:
        """A key that was never put is absent, and no error."""
        assert store.get_many(MODEL, [key_of("a")]) == {}

    def test_what_was_put_is_found_bit_for_bit(self, store: VectorStore) -> None:
        """A hit has the stored bytes, those of subnormal and negative zero included."""
        odd = np.array([0.0, -0.0, 1e-45, -1e-45, 3.4028235e38, -1.0, 1 / 3, 2**-126], np.float32)
        items = {**items_of("a", "b"), key_of("odd"): odd}
        assert store.put_many(MODEL, items) == {}
        assert equal(store.get_many(MODEL, list(items)), items)

    def test_only_what_is_there_is_found(self, store: VectorStore) -> None:
        """Of a mixed batch the hits come back, each under its own key."""
        items = items_of(*range(0, 20, 2))
        store.put_many(MODEL, items)
        assert equal(store.get_many(MODEL, [key_of(n) for n in range(20)]), items)

    def test_the_order_of_keys_does_not_matter(self, store: VectorStore) -> None:
        """Asked in another order, every key has its own vector still."""
        items = items_of(*range(50))
        store.put_many(MODEL, items)
        assert equal(store.get_many(MODEL, [key_of(n) for n in reversed(range(50))]), items)

    def test_a_key_given_twice_is_found_once(self, store: VectorStore) -> None:
        """Duplicates in a batch are one entry of the answer."""
        items = items_of("a")
        store.put_many(MODEL, items)
        assert equal(store.get_many(MODEL, [key_of("a"), key_of("a")]), items)

    def test_an_empty_batch_is_nothing(self, store: VectorStore) -> None:
        """No keys and no items are fine, everywhere."""
        assert store.get_many(MODEL, []) == {}
        assert store.put_many(MODEL, {}) == {}
        assert store.delete_many(MODEL, []) == 0

    def test_a_large_batch_is_found_whole(self, store: VectorStore) -> None:
        """5,000 vectors in one call, read in one call: more than any limit on parameters."""
        items = {key_of(n): vector_of(n, 64) for n in range(5000)}
        assert store.put_many(MODEL, items) == {}
        assert equal(store.get_many(MODEL, list(items)), items)

    def test_dimensions_may_differ(self, store: VectorStore) -> None:
        """One namespace holds vectors of 1 and of 4,096 components."""
        items = {key_of(n): vector_of(n, n) for n in (1, 2, 3, 384, 4096)}
        store.put_many(MODEL, items)
        assert equal(store.get_many(MODEL, list(items)), items)

    def test_namespaces_are_apart(self, store: VectorStore) -> None:
        """One key under two models is two vectors."""
        ours, theirs = {key_of("a"): vector_of("ours")}, {key_of("a"): vector_of("theirs", 3)}
        assert store.put_many(MODEL, ours) == {}
        assert store.put_many(OTHER_MODEL, theirs) == {}
        assert equal(store.get_many(MODEL, [key_of("a")]), ours)
        assert equal(store.get_many(OTHER_MODEL, [key_of("a")]), theirs)

    def test_found_vectors_cannot_be_changed(self, store: VectorStore) -> None:
        """What is found is 1-D, float32 and read-only: a store's vectors are everybody's."""
        store.put_many(MODEL, items_of(*range(10)))
        for vector in store.get_many(MODEL, [key_of(n) for n in range(10)]).values():
            assert vector.dtype == np.float32
            assert vector.ndim == 1
            with pytest.raises(ValueError, match="read-only"):
                vector[0] = 1.0

    def test_later_changes_by_the_caller_change_nothing(self, store: VectorStore) -> None:
        """The array that was put stays the caller's, also where it was a row of a matrix."""
        matrix = np.stack([vector_of(n) for n in range(4)])
        store.put_many(MODEL, {key_of(n): row for n, row in enumerate(matrix)})
        matrix[:] = 7.0
        assert equal(store.get_many(MODEL, [key_of(n) for n in range(4)]), items_of(*range(4)))

    # ------------------------------------------------------------------------------ writing

    def test_the_first_writer_wins(self, store: VectorStore) -> None:
        """Another vector for a stored key changes nothing, and the stored one is returned."""
        first, second = items_of("a"), {key_of("a"): vector_of("other")}
        assert store.put_many(MODEL, first) == {}
        assert equal(store.put_many(MODEL, {**second, **items_of("b")}), first)
        assert equal(store.get_many(MODEL, [key_of("a"), key_of("b")]), {**first, **items_of("b")})

    def test_putting_the_same_again_returns_nothing(self, store: VectorStore) -> None:
        """Only a *different* vector that won is returned."""
        store.put_many(MODEL, items_of("a", "b"))
        assert store.put_many(MODEL, items_of("a", "b", "c")) == {}

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_vector_that_is_not_finite_is_refused(self, store: VectorStore, bad: float) -> None:
        """NaN and infinity are never stored, and neither is the rest of that batch."""
        items = items_of("a", "b")
        items[key_of("bad")] = np.array([1.0, bad], np.float32)
        with pytest.raises(VectorError, match=key_of("bad").hex()):
            store.put_many(MODEL, items)
        assert store.get_many(MODEL, list(items)) == {}

    @pytest.mark.parametrize(
        "bad",
        [np.zeros(3), np.zeros((1, 3), np.float32), np.zeros(0, np.float32), [1.0, 2.0]],
        ids=["float64", "2-D", "empty", "list"],
    )
    def test_what_is_no_vector_is_refused(self, store: VectorStore, bad: np.ndarray) -> None:
        """Another type, dtype or shape is an error, not a conversion."""
        with pytest.raises(VectorError):
            store.put_many(MODEL, {key_of("bad"): bad})
        assert store.get_many(MODEL, [key_of("bad")]) == {}

    def test_a_strided_vector_is_stored_as_what_it_shows(self, store: VectorStore) -> None:
        """A view that is not contiguous is stored by its elements."""
        vector = np.arange(20, dtype=np.float32)[::-3]
        store.put_many(MODEL, {key_of("a"): vector})
        assert store.get_many(MODEL, [key_of("a")])[key_of("a")].tolist() == vector.tolist()

    # ------------------------------------------------------------------------------ removing

    def test_what_is_deleted_is_gone(self, store: VectorStore) -> None:
        """`delete_many` counts what there was, and touches nothing else."""
        store.put_many(MODEL, items_of("a", "b", "c"))
        store.put_many(OTHER_MODEL, items_of("a"))
        assert store.delete_many(MODEL, [key_of("a"), key_of("c"), key_of("never")]) == 2
        assert equal(store.get_many(MODEL, [key_of(n) for n in "abc"]), items_of("b"))
        assert equal(store.get_many(OTHER_MODEL, [key_of("a")]), items_of("a"))

    def test_what_was_deleted_can_be_put_again(self, store: VectorStore) -> None:
        """After a deletion the next writer is the first."""
        store.put_many(MODEL, items_of("a"))
        store.delete_many(MODEL, [key_of("a")])
        second = {key_of("a"): vector_of("second")}
        assert store.put_many(MODEL, second) == {}
        assert equal(store.get_many(MODEL, [key_of("a")]), second)

    def test_clear_empties_one_namespace(self, store: VectorStore) -> None:
        """`clear(model)` removes that model's vectors and no other's."""
        store.put_many(MODEL, items_of("a", "b"))
        store.put_many(OTHER_MODEL, items_of("a"))
        assert store.clear(MODEL) == 2
        assert store.get_many(MODEL, [key_of("a"), key_of("b")]) == {}
        assert equal(store.get_many(OTHER_MODEL, [key_of("a")]), items_of("a"))

    def test_clear_empties_everything(self, store: VectorStore) -> None:
        """`clear()` removes all models' vectors, and the store goes on working."""
        store.put_many(MODEL, items_of("a", "b"))
        store.put_many(OTHER_MODEL, items_of("a"))
        assert store.clear() == 3
        assert store.stats().entries == 0
        assert store.put_many(MODEL, items_of("a")) == {}
        assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))

    # ------------------------------------------------------------------------------ counting

    def test_stats_count_what_happened(self, store: VectorStore) -> None:
        """Entries and bytes are those held; hits and misses are keys, not calls."""
        store.put_many(MODEL, items_of(*range(10)))
        store.get_many(MODEL, [key_of(n) for n in range(15)])
        stats = store.stats()
        assert isinstance(stats, StoreStats)
        assert (stats.entries, stats.hits, stats.misses) == (10, 10, 5)
        assert stats.bytes >= 10 * 4 * DIMENSION
        assert (stats.corrupt, stats.errors, stats.evictions) == (0, 0, 0)

    def test_stats_are_plain_values(self, store: VectorStore) -> None:
        """`as_dict` is JSON: reports and other processes get it."""
        store.put_many(MODEL, items_of("a"))
        stats = store.stats().as_dict()
        assert json.loads(json.dumps(stats)) == stats

    def test_closing_twice_is_fine(self, store: VectorStore) -> None:
        """`close` lets go, and again does nothing."""
        store.put_many(MODEL, items_of("a"))
        store.close()
        store.close()

    # ------------------------------------------------------------------------------ threads

    def test_threads_may_read_and_write_at_once(self, store: VectorStore) -> None:
        """Eight threads put and get overlapping batches; nobody ever sees a wrong vector."""
        start = threading.Barrier(8)
        wrong: list[object] = []

        def work(number: int) -> None:
            generator = np.random.default_rng(number)
            try:
                start.wait()
                for _ in range(15):
                    names = [int(n) for n in generator.integers(0, 60, 12)]
                    wrong.extend(store.put_many(MODEL, items_of(*names)))
                    expected = items_of(*names)
                    if not equal(store.get_many(MODEL, list(expected)), expected):
                        wrong.append(names)
            except BaseException as error:  # reported by the main thread
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_of_racing_writers_one_wins_for_all(self, store: VectorStore) -> None:
        """Eight threads put eight vectors for one key: what each ends up with is what is stored."""
        start = threading.Barrier(8)
        ended: list[bytes] = []

        def work(number: int) -> None:
            mine = {key_of("raced"): vector_of(("racer", number))}
            start.wait()
            ended.append({**mine, **store.put_many(MODEL, mine)}[key_of("raced")].tobytes())

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored = store.get_many(MODEL, [key_of("raced")])[key_of("raced")].tobytes()
        assert ended == [stored] * 8
