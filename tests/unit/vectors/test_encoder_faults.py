"""What a model or a store does wrong, and what the caller sees: an error, or right vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from support.encoders import World, right, world

from pytest_embedcache.errors import EncodeError, StoreError
from pytest_embedcache.vectors.memory import MemoryStore

TEXTS = ["a cat", "a dog", "", "a cat"]


def vectors(found: Any) -> bytes:
    assert found.dtype == np.float32
    return bytes(found.tobytes())


# ------------------------------------------------------------------------------ bad models


@pytest.mark.parametrize(
    "reshape",
    [
        lambda rows: rows[:-1],
        lambda rows: np.concatenate([rows, rows[:1]]),
        lambda rows: rows[0],
        lambda rows: rows[None],
        lambda rows: rows.ravel(),
        lambda rows: rows[:0],
        lambda rows: np.float32(1),
    ],
    ids=["fewer", "more", "one row", "deeper", "flat", "none", "a number"],
)
def test_another_number_of_rows_than_texts_is_an_error(reshape: Callable[[Any], Any]) -> None:
    """Which row is whose cannot be known: nothing of it is returned or stored."""
    store = MemoryStore()
    w = world(store)
    w.inner().reshape = reshape
    with pytest.raises(EncodeError) as caught:
        w.model().encode(["a", "b", "c"])
    assert (caught.value.model, caught.value.expected) == ("m", 3)
    assert store.stats().entries == 0
    w.inner().reshape = lambda rows: rows
    assert vectors(w.model().encode(["a", "b", "c"])) == right(["a", "b", "c"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_no_number_is_returned_and_not_stored(bad: float) -> None:
    """The caller sees what his model did; the next call asks the model again, for that text."""
    store = MemoryStore()
    w = world(store)

    def spoil(rows: np.ndarray) -> np.ndarray:
        rows[w.batches()[-1].index("bad")][3] = bad
        return rows

    w.inner().reshape = spoil
    found = w.model().encode(["a", "bad", "c"])
    assert not np.isfinite(found[1]).all()
    assert vectors(found[[0, 2]]) == right(["a", "c"])
    assert store.stats().entries == 2
    w.inner().reshape = lambda rows: rows
    assert vectors(w.model().encode(["a", "bad", "c"])) == right(["a", "bad", "c"])
    assert [sorted(batch) for batch in w.batches()] == [["a", "bad", "c"], ["bad"]]


def test_vectors_without_components_are_returned_and_not_stored() -> None:
    """A cut to nothing gives shape (n, 0), cold and warm; the store is not bothered with it."""
    store = MemoryStore()
    w = world(store)
    for _ in range(2):
        assert w.model().encode(["a", "b"], truncate_dim=0).shape == (2, 0)
    assert store.stats().entries == 0


def test_a_number_format_that_float32_does_not_hold_is_not_stored() -> None:
    """What the model returns as float64 comes back as float64, from the model, every time."""
    store = MemoryStore()
    w = world(store)
    w.inner().reshape = lambda rows: rows.astype(np.float64) / 3
    for _ in range(2):
        found = w.model().encode(["a", "b"])
        assert found.dtype == np.float64
        expected = np.frombuffer(right(["a", "b"]), np.float32).astype(np.float64) / 3
        assert found.tobytes() == expected.tobytes()
    assert store.stats().entries == 0
    assert w.tally()["bypassed"] == 4
    assert len(w.batches()) == 3  # the first time to find out


def test_a_double_precision_model_is_not_looked_for_in_the_store() -> None:
    """What its files say is enough to know."""
    assert world(dtype="float64").model().keys(["a"]) == []


def test_half_precision_comes_back_as_it_was() -> None:
    """float16 rows are float16 again when they are found, bit for bit."""
    store = MemoryStore()
    w = world(store, dtype="float16")
    w.inner().reshape = lambda rows: rows.astype(np.float16)
    cold = w.model().encode(["a", "b"])
    warm = World(w.backend, store).model().encode(["a", "b"])
    assert cold.dtype == warm.dtype == np.float16
    assert cold.tobytes() == warm.tobytes()
    expected = np.frombuffer(right(["a", "b"]), np.float32).astype(np.float16)
    assert cold.tobytes() == expected.tobytes()


def test_float32_rows_of_a_half_precision_model_lose_nothing() -> None:
    """Where the last module computes in float32 all the same, float32 is what comes back."""
    w = world(dtype="float16")
    for _ in range(2):
        assert vectors(w.model().encode(["a", "b"])) == right(["a", "b"])


# ------------------------------------------------------------------------------ the store


class Sink(MemoryStore):
    """A store whose calls can be made to fail, and which shows what was put."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.before_put: Callable[[], object] = lambda: None

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        self._fail()
        return super().get_many(fingerprint, keys)

    def put_many(self, fingerprint: str, items: Any) -> dict[bytes, np.ndarray]:
        self._fail()
        self.before_put()
        return super().put_many(fingerprint, items)

    def _fail(self) -> None:
        if self.broken:
            raise StoreError("test", "here", "it is broken", "Mend it.")


def test_a_store_that_fails_costs_no_answer() -> None:
    """Broken for reading and writing, it is as if it were empty."""
    store = Sink()
    w = world(store)
    store.broken = True
    assert vectors(w.model().encode(TEXTS)) == right(TEXTS)
    assert store.stats().entries == 0


def test_the_vector_that_is_stored_first_is_everybodys() -> None:
    """Of two processes that compute one text, the second hands out the first one's bytes."""
    shared = MemoryStore()
    first = world(shared)
    second = World(first.backend, shared)
    first.model().encode(["warm up"])
    # The second misses, and while it computes, the first stores: encoders differ by batch.
    second.inner().reshape = lambda rows: rows + np.float32(1e-6)
    second.inner().before = lambda texts: first.model().encode(["a", "b"])
    assert vectors(second.model().encode(["a", "b", "c"]))[: 2 * 32] == right(["a", "b"])
    assert vectors(second.model().encode(["a", "b"])) == right(["a", "b"])
    assert second.tally()["computed"] == 3


def test_a_stored_vector_of_another_length_is_not_believed() -> None:
    """Beside vectors of the model's length it is seen, forgotten, and computed anew."""
    store = MemoryStore()
    w = world(store)
    [key] = w.model().keys(["b"])
    store.put_many(w.model().fingerprint, {key: np.ones(3, np.float32)})
    assert vectors(w.model().encode(["a", "b"])) == right(["a", "b"])
    assert vectors(World(w.backend, store).model().encode(["b"])) == right(["b"])


def test_a_stored_vector_of_another_length_is_no_trouble_where_it_cannot_be_removed() -> None:
    """Then the store is done without."""

    class Stubborn(MemoryStore):
        def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
            raise StoreError("test", "here", "it is read-only", "Mend it.")

    store = Stubborn()
    w = world(store)
    [key] = w.model().keys(["b"])
    store.put_many(w.model().fingerprint, {key: np.ones(3, np.float32)})
    assert vectors(w.model().encode(["a", "b"])) == right(["a", "b"])


def test_without_a_store_every_text_is_the_models() -> None:
    """Live mode computes each time, and counts what it did not look for."""
    w = world(live=True)
    for _ in range(2):
        assert vectors(w.model().encode(TEXTS)) == right(TEXTS)
    assert w.batches() == [TEXTS, TEXTS]
    tally = w.tally()
    assert (tally["asked"], tally["bypassed"], tally["computed"]) == (8, 8, 0)


def test_without_a_store_too_few_rows_are_an_error_too() -> None:
    """No mode hands out rows that cannot be told apart."""
    w = world(live=True)
    w.inner().reshape = lambda rows: rows[:-1]
    with pytest.raises(EncodeError):
        w.model().encode(["a", "b"])


# ------------------------------------------------------------------------------ errors


def test_what_the_model_raises_is_what_the_caller_gets() -> None:
    """Its own error, and nothing of the call is stored."""
    store = MemoryStore()
    w = world(store)
    error = RuntimeError("out of memory")

    def fail(texts: Sequence[str]) -> None:
        raise error

    w.inner().before = fail
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        w.model().encode(["a"])
    assert caught.value is error
    assert store.stats().entries == 0
    w.inner().before = lambda texts: None
    assert vectors(w.model().encode(["a"])) == right(["a"])


def test_a_failed_load_is_not_remembered() -> None:
    """The error reaches the caller; the next call loads."""
    w = world()

    def fail(name: str) -> None:
        raise OSError("the disk went away")

    w.backend.on_load = fail
    with pytest.raises(OSError, match="went away"):
        w.model().encode(["a"])
    w.backend.on_load = lambda name: None
    assert vectors(w.model().encode(["a"])) == right(["a"])
    assert w.backend.loads == ["m", "m"]
