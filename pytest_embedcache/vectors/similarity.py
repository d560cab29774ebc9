"""The four similarities of sentence-transformers, without importing it.

Distances are negated, so that more alike is always larger
(https://sbert.net/docs/package_reference/util/similarity.html). Computed with torch where it is
installed, since the result is a tensor there; else with numpy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

__all__ = ["pairwise", "similarity"]


def similarity(name: str, first: Any, second: Any) -> Any:
    """Each with each: shape (n, m). One vector counts as a matrix of one row."""
    a, b = _matrix(first), _matrix(second)
    if name == "cosine":
        return _unit(a) @ _unit(b).T
    if name == "dot":
        return a @ b.T
    return _DISTANCES[name](a[:, None] - b[None])


def pairwise(name: str, first: Any, second: Any) -> Any:
    """The i-th with the i-th: shape (n,)."""
    a, b = _matrix(first), _matrix(second)
    if name == "cosine":
        return (_unit(a) * _unit(b)).sum(-1)
    if name == "dot":
        return (a * b).sum(-1)
    return _DISTANCES[name](a - b)


_DISTANCES: dict[str, Callable[[Any], Any]] = {
    "euclidean": lambda difference: -((difference**2).sum(-1) ** 0.5),
    "manhattan": lambda difference: -abs(difference).sum(-1),
}


def _matrix(values: Any) -> Any:
    if importlib.util.find_spec("torch") is None:
        import numpy as np

        return np.atleast_2d(np.asarray(values, dtype=np.float32))
    import torch

    if isinstance(values, list | tuple) and values:
        rows = [torch.as_tensor(row) for row in values]
        found = torch.stack(rows)
    else:
        found = torch.as_tensor(values)
    return found if found.ndim > 1 else found.reshape(1, -1)


def _unit(matrix: Any) -> Any:
    # The smallest length is that of torch.nn.functional.normalize: a row of zeros stays one.
    lengths = ((matrix * matrix).sum(-1) ** 0.5).clip(1e-12)
    return matrix / lengths[:, None]
