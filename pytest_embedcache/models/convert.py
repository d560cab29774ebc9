"""From one float32 matrix to what the caller asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Truncating", "converted", "empty"]


class Truncating:
    """Of a class that has `truncate_dim`, and cuts what it encodes to that."""

    if TYPE_CHECKING:
        truncate_dim: int | None

    @contextlib.contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Inside the block `encode` cuts vectors to this dimension, unless the call says."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    @contextlib.contextmanager
    def truncate_sentence_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """The older name of `truncate_embeddings`."""
        with self.truncate_embeddings(truncate_dim):
            yield


def converted(
    matrix: np.ndarray, *, single: bool, tensor: bool, numpy: bool, dtype: str, device: str | None
) -> Any:
    """Return the rows as `encode` does: an array, one tensor, or a list of tensors.

    `matrix` is (n, dimension) and belongs to the caller afterwards. `dtype` is the model's: what
    was stored as float32 goes back to it. `single` takes the only row.
    """
    plain = not tensor and numpy
    if plain and dtype == "float32":
        return matrix[0] if single else matrix
    if matrix.dtype.name != "float32":
        dtype = matrix.dtype.name  # quantized: stays as it is
    if plain:
        if dtype == "float16" and _is_exact(half := matrix.astype("float16"), matrix):
            matrix = half
        return matrix[0] if single else matrix
    torch = _torch()
    rows = torch.from_numpy(matrix)
    if dtype in ("float16", "bfloat16"):
        narrow = rows.to(getattr(torch, dtype))
        if _is_exact(narrow.to(torch.float32).numpy(), matrix):
            rows = narrow
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


def _is_exact(narrow: np.ndarray, matrix: np.ndarray) -> bool:
    """Whether nothing was lost: the last module of a model may compute in float32 all the same."""
    import numpy as np

    return np.array_equal(narrow.astype(np.float32), matrix, equal_nan=True)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("a tensor", "torch", "sentence-transformers") from error
    return torch
