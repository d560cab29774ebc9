"""The nearest by float64 and a sort, written without a look at how an index does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

__all__ = ["nearest"]


def nearest(
    vectors: Mapping[int, list[float]],
    query: list[float],
    k: int,
    metric: str,
    accepts: Callable[[int], bool] = lambda id: True,
) -> list[tuple[int, float]]:
    """Ids and distances; equal are distances that differ by no more than rounding."""
    asked = np.array(query, np.float64)
    found = []
    for id, vector in vectors.items():
        wide = np.array(vector, np.float64)
        product = float(wide @ asked)
        lengths = float(np.linalg.norm(wide) * np.linalg.norm(asked))
        if metric == "cosine":
            distance = 1 - (product / lengths if lengths else 0.0)
        else:
            distance = -product
        if accepts(id):
            found.append((round(distance, 6), id))
    return [(id, distance) for distance, id in sorted(found)[:k]]
