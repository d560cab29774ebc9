"""What comes in: ids and vectors, checked before anything is written."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, Self

import numpy as np

from pytest_embedcache.errors import IndexEntryError

__all__ = ["Entries", "count_from", "entries_from", "ids_from", "lengths", "query_from"]

#: Beyond these, products of float32 vectors overflow, or vanish.
SHORTEST, LONGEST = 1e-15, 1e15
#: Rows that are widened to float64 at a time.
_BATCH = 2048


class Entries(NamedTuple):
    """Ids (int64), vectors (float32, one row each) and their lengths (float64)."""

    ids: np.ndarray
    vectors: np.ndarray
    norms: np.ndarray

    @classmethod
    def none(cls, dimension: int) -> Self:
        return cls(np.empty(0, np.int64), np.empty((0, dimension), np.float32), np.empty(0))

    def without(self, those: np.ndarray) -> Self:
        """What is left without `those`: bool, shape (n,)."""
        if not those.any():
            return self
        return type(self)(self.ids[~those], self.vectors[~those], self.norms[~those])


def entries_from(ids: Any, vectors: Any, dimension: int) -> Entries:
    """Raises `IndexEntryError` where they are not distinct ids with a vector each."""
    numbers = ids_from(ids)
    rows = _floats(vectors)
    if rows.shape == (0,):
        rows = rows.reshape(0, dimension)
    if rows.ndim != 2 or rows.shape[1] != dimension or len(rows) != len(numbers):
        raise IndexEntryError(
            None,
            f"{len(numbers)} ids come with an array of shape {rows.shape}",
            f"Give one row of {dimension} numbers for each id.",
        )
    if not (np.diff(numbers) > 0).all():
        distinct, counts = np.unique(numbers, return_counts=True)
        if len(distinct) < len(numbers):
            twice = int(distinct[counts > 1][0])
            raise IndexEntryError(twice, "it is given more than once", "Give every id once.")
    norms = lengths(rows)
    bad = ~((norms == 0) | ((norms >= SHORTEST) & (norms <= LONGEST)))  # so is what is no number
    if bad.any():
        raise IndexEntryError(int(numbers[bad][0]), *_WRONG_LENGTH)
    return Entries(numbers, rows, norms)


_WRONG_LENGTH = (
    "its vector is not finite, or its length is not between 1e-15 and 1e15",
    "If a model returned it, look at the model first; a vector of zeros is taken.",
)


def ids_from(ids: Any) -> np.ndarray:
    """int64, shape (n,); raises `IndexEntryError` for anything but whole numbers of 64 bits."""
    if isinstance(ids, Collection) and not isinstance(ids, np.ndarray | list | tuple | range):
        ids = list(ids)
    try:
        numbers = np.asarray(ids)
        if numbers.size == 0:
            return np.empty(0, np.int64)
        if numbers.dtype.kind not in "iu":
            raise ValueError(f"they are of type {numbers.dtype}")
        if numbers.dtype == np.uint64 and int(numbers.max()) >= 2**63:
            raise ValueError("one is beyond 2**63 - 1")
    except (ValueError, OverflowError) as error:
        raise IndexEntryError(
            None, f"ids are whole numbers of 64 bits, and not {error}", "Number the entries."
        ) from error
    return numbers.astype(np.int64, copy=False).reshape(-1)


def query_from(vector: Any, dimension: int) -> tuple[np.ndarray, float]:
    """A float32 vector, shape (dimension,), and its length; raises `IndexEntryError`."""
    query = _floats(vector)
    if query.shape == (1, dimension):
        query = query[0]
    if query.shape != (dimension,):
        raise IndexEntryError(
            None, f"the query is of shape {query.shape}", f"Give one vector of {dimension} numbers."
        )
    wide = query.astype(np.float64)
    norm = float(np.sqrt((wide * wide).sum()))
    if not (norm == 0 or SHORTEST <= norm <= LONGEST):
        raise IndexEntryError(None, *_WRONG_LENGTH)
    return query, norm


def count_from(k: int) -> int:
    """How many are asked for; raises `IndexEntryError` for less than none."""
    if k < 0:
        raise IndexEntryError(None, f"k is {k}", "Give the number of entries to find.")
    return int(k)


def lengths(rows: np.ndarray) -> np.ndarray:
    """The Euclidean length of each row: float64. Equal rows have equal ones, wherever they are."""
    found = np.empty(len(rows))
    for first in range(0, len(rows), _BATCH):
        wide = rows[first : first + _BATCH].astype(np.float64)
        found[first : first + _BATCH] = np.sqrt((wide * wide).sum(1))
    return found


def _floats(values: Any) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # found by its length
            return np.ascontiguousarray(values, np.float32)
    except (ValueError, TypeError) as error:
        raise IndexEntryError(
            None, f"the vectors are no array of numbers ({error})", "Give rows of one length."
        ) from error
