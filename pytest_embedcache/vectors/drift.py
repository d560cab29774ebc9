"""How far two computations of one vector may lie apart, and how far they do."""

from __future__ import annotations

import numpy as np

__all__ = ["TOLERANCE", "agree", "cosine", "difference"]

#: Largest difference of a component, of the largest component: encoders differ by about 1e-7
#: between batches, and by up to 1e-5 between machines.
TOLERANCE = 1e-5


def agree(one: np.ndarray, other: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Whether two vectors are the same but for how they were computed."""
    if one.shape != other.shape:
        return False
    scale = float(np.abs(other).max()) if other.size else 0.0
    return difference(one, other) <= tolerance * scale


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest absolute difference of their components; infinite for other dimensions."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Their cosine; -1 for other dimensions, and 1 for two vectors of zeros."""
    if one.shape != other.shape:
        return -1.0
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float(not (a.any() or b.any()))
