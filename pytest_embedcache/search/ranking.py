"""Distances, and the order of what was found: the same code for all backends.

Candidates come from products in float32, whose last digits depend on where a row lies and on how a
library adds up. So each is given with what it may be wrong by, and only those are left out that
cannot be among the nearest. The distances that are returned are computed from the rows in float64,
and their similarities compared as float32: what is equally far but for rounding is equally far, and
goes by id.
"""

from __future__ import annotations

import numpy as np

from pytest_embedcache.search.view import View

__all__ = ["at_least", "margin", "ranked"]

#: Rows that are widened to float64 at a time.
_BATCH = 2048


def margin(dimension: int) -> float:
    """The most by which a float32 product of two vectors of length 1 may be wrong, doubled.

    The bound for any order of addition, n u / (1 - n u) with u = 2**-24 (Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1), with a few roundings more for making the
    lengths 1.
    """
    rounding = (dimension + 8) * 2.0**-24
    return 2 * rounding / (1 - rounding)


def at_least(scores: np.ndarray, count: int, slack: float) -> np.ndarray:
    """Where the `count` highest scores are, with all that are lower by no more than `slack`."""
    if count >= len(scores):
        return np.flatnonzero(scores > -np.inf)
    place = len(scores) - count
    bound = np.partition(scores, place)[place]
    # The bound is -inf where fewer than `count` are left at all.
    return np.flatnonzero(scores >= bound - slack if bound > -np.inf else scores > -np.inf)


def ranked(
    view: View, rows: np.ndarray, query: np.ndarray, norm: float
) -> tuple[np.ndarray, np.ndarray]:
    """The ids of `rows` and their distances (float64), nearest first, equal ones by id."""
    wide = query.astype(np.float64)
    similar = np.empty(len(rows))
    for first in range(0, len(rows), _BATCH):
        part = rows[first : first + _BATCH]
        # Summed row by row, so that equal rows have equal sums.
        similar[first : first + _BATCH] = (view.matrix[part].astype(np.float64) * wide).sum(1)
    cosine = view.manifest.metric == "cosine"
    if cosine:
        lengths = view.norms[rows] * norm
        similar = np.divide(similar, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    similar = similar.astype(np.float32).astype(np.float64)
    distances = 1.0 - similar if cosine else 0.0 - similar
    ids = view.row_ids[rows]
    order = np.lexsort((ids, distances))
    return ids[order], distances[order]
