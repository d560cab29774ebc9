"""float32 as a service writes it in JSON: the shortest decimal that gives the same float32 back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["as_written"]

#: A decimal of up to 6 digits is one float32; 9 digits always tell two of them apart (IEEE 754).
_DIGITS = (6, 7, 8, 9)
#: Up to here a power of ten is exact in float64, and a quotient by it correctly rounded.
_EXACT = 22


def as_written(matrix: np.ndarray) -> list[list[float]]:
    """The rows of a float32 matrix as Python floats that print with no digit too many.

    `tolist()` gives the float64 that is the float32, 0.10000000149011612 for 0.1. This gives 0.1,
    which is what `json.loads` makes of a service's answer.
    """
    import numpy as np

    exact = matrix.astype(np.float64)
    found = exact.copy()
    with np.errstate(all="ignore"):
        exponents = np.floor(np.log10(np.abs(exact)))
        left = np.isfinite(exponents)  # neither 0, nor infinite, nor NaN
        far = left & (np.abs(exponents - _DIGITS[-1] // 2) > _EXACT - _DIGITS[-1])
        for digits in _DIGITS:
            scale = 10.0 ** (digits - 1 - exponents)
            # A negative power is not exact: times its inverse, which is.
            inverse = 10.0 ** (exponents - digits + 1)
            whole = np.rint(np.where(scale < 1, exact / inverse, exact * scale))
            candidate = np.where(scale < 1, whole * inverse, whole / scale)
            hit = left & (candidate.astype(np.float32) == matrix)
            found[hit] = candidate[hit]
            left &= ~hit
    for place in map(tuple, np.argwhere(far)):
        found[place] = float(str(matrix[place]))
    rows: list[list[float]] = found.tolist()
    return rows
