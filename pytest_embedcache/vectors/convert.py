"""From one float32 matrix to what the caller asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["converted", "empty", "quantized"]


def converted(
    matrix: np.ndarray, *, single: bool, tensor: bool, numpy: bool, dtype: str, device: str | None
) -> Any:
    """Return the rows as `encode` does: an array, one tensor, or a list of tensors.

    `matrix` is (n, dimension) and belongs to the caller afterwards. `dtype` is the model's: what
    was stored as float32 goes back to it exactly. `single` takes the only row.
    """
    if not tensor and numpy:
        if dtype == "float16" and matrix.dtype.name == "float32":
            matrix = matrix.astype("float16")
        return matrix[0] if single else matrix
    torch = _torch()
    rows = torch.from_numpy(matrix)
    if dtype in ("float16", "bfloat16") and matrix.dtype.name == "float32":
        rows = rows.to(getattr(torch, dtype))
    if device is not None and not device.startswith("cpu"):
        rows = rows.to(device)
    if single:
        return rows[0]
    return rows if tensor else list(rows)


def empty(*, tensor: bool, numpy: bool) -> Any:
    """What `encode([])` returns: shape (0,)."""
    import numpy as np

    if tensor:
        return _torch().tensor([])
    return np.array([]) if numpy else []


def quantized(matrix: np.ndarray, precision: str) -> np.ndarray:
    """The matrix in `precision`, by sentence-transformers' own function.

    `int8` and `uint8` take their ranges from all rows of the matrix, as `encode` does; so it is
    done after assembly, from float32, and never stored.
    """
    from importlib import import_module

    for home in ("sentence_transformers.util.quantization", "sentence_transformers.quantization"):
        try:  # the second is its place in version 3
            function = import_module(home).quantize_embeddings
        except ImportError:
            continue
        result: np.ndarray = function(matrix, precision=precision)
        return result
    raise MissingExtraError(
        f"precision={precision!r}", "sentence_transformers", "sentence-transformers"
    )


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("a tensor", "torch", "sentence-transformers") from error
    return torch
