"""Quantizing a matrix of vectors, as `encode(precision=…)` does.

The function of the installed sentence-transformers would import torch, which a process whose
vectors are all stored does not need. So version 6's is here, in numpy, and a test holds the two
against each other bit by bit; older versions round differently, and are asked themselves.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["quantized"]

_log = logging.getLogger(__name__)
#: Below this many rows the ranges of int8 are those of a sample, not of a corpus.
_ENOUGH_ROWS = 100


def quantized(matrix: np.ndarray, precision: str) -> np.ndarray:
    """The float matrix (n, dimension) in `precision`; n is at least 1.

    `int8` and `uint8` take their ranges from all rows of the matrix, as `encode` does: so this is
    done after assembly, and its result is never stored. `binary` and `ubinary` pack eight columns
    into a byte, by their sign.

    Raises:
        ValueError: `int8` or `uint8` of a single row, which has no range.
    """
    import numpy as np

    if (older := _older_version()) is not None:
        return older(matrix, precision)
    if precision in ("binary", "ubinary"):
        packed: np.ndarray = np.packbits(matrix > 0, axis=-1)
        return packed if precision == "ubinary" else (packed - 128).astype(np.int8)
    if len(matrix) == 1:
        raise ValueError(
            f"Cannot compute {precision} quantization ranges from a single embedding. Encode more "
            "texts in one call, or quantize with ranges of your own."
        )
    if len(matrix) < _ENOUGH_ROWS:
        _log.warning("Computing %s ranges from only %d vectors", precision, len(matrix))
    low = matrix.min(axis=0).astype(np.float32, copy=False)
    steps = (matrix.max(axis=0).astype(np.float32, copy=False) - low) / 255
    steps = np.where(steps == 0, 1, steps)
    levels: np.ndarray = np.clip(np.floor((matrix - low) / steps), 0, 255)
    return levels.astype(np.uint8) if precision == "uint8" else (levels - 128).astype(np.int8)


@functools.cache
def _older_version() -> Callable[[np.ndarray, str], np.ndarray] | None:
    from importlib import import_module
    from importlib.metadata import PackageNotFoundError, version

    try:
        if int(version("sentence-transformers").partition(".")[0]) >= 6:
            return None
    except PackageNotFoundError:
        return None
    function: Callable[[np.ndarray, str], np.ndarray]
    function = import_module("sentence_transformers.quantization").quantize_embeddings
    return function
