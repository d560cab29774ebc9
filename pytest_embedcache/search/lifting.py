"""Vectors as backends keep them: of length 1, in one dimension more.

So a backend needs no metric but the angle. `cosine`: a vector divided by its length, and 0; a
vector of zeros has its 1 in the last place, at a right angle to every query. `dot`: a vector
divided by `bound`, no less than the longest, and what is missing to length 1; of such vectors the
angle to a query, whose last number is 0, orders as the inner product does (Bachrach et al.,
"Speeding up the Xbox recommender system using a Euclidean transformation for inner-product
spaces", RecSys 2014).
"""

from __future__ import annotations

import numpy as np

__all__ = ["lift", "lift_query"]


def lift(vectors: np.ndarray, norms: np.ndarray, metric: str, bound: float) -> np.ndarray:
    """Float32, shape (n, dimension + 1), of float32 vectors and their float64 lengths."""
    lifted = np.zeros((len(vectors), vectors.shape[1] + 1), np.float32)
    if metric == "cosine":
        np.divide(vectors, norms[:, None], out=lifted[:, :-1], where=norms[:, None] > 0)
        lifted[norms == 0, -1] = 1.0
    else:
        lifted[:, :-1] = vectors / (bound or 1.0)
        lifted[:, -1] = np.sqrt(np.maximum(0.0, 1.0 - (norms / (bound or 1.0)) ** 2))
    return lifted


def lift_query(query: np.ndarray, norm: float) -> np.ndarray:
    """Float32, shape (dimension + 1,), of a query that is not all zeros."""
    return np.append(query / norm, 0.0).astype(np.float32)
