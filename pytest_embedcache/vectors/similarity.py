"""The four similarities of sentence-transformers, without importing it.

Distances are negated, so that more alike is always larger
(https://sbert.net/docs/package_reference/util/similarity.html). Computed with torch where it is
installed, since the result is a tensor there; else with numpy.
"""

from __future__ import annotations

from typing import Any

__all__ = ["pairwise", "similarity"]


def similarity(name: str, first: Any, second: Any) -> Any:
    """Each with each: shape (n, m). One vector counts as a matrix of one row."""
    a, b = _matrix(first), _matrix(second)
    if name == "cosine":
        return _unit(a) @ _unit(b).T
    if name == "dot":
        return a @ b.T
    return -_distances(a, b, _ORDERS[name])


def pairwise(name: str, first: Any, second: Any) -> Any:
    """The i-th with the i-th: shape (n,); of two single vectors, one number of shape ()."""
    a, b = _floats(first), _floats(second)
    if name == "cosine":
        return (_unit(a) * _unit(b)).sum(-1)
    if name == "dot":
        return (a * b).sum(-1)
    difference = a - b
    if name == "manhattan":
        return -abs(difference).sum(-1)
    return -((difference**2).sum(-1) ** 0.5)


#: The p of the p-norm.
_ORDERS = {"euclidean": 2.0, "manhattan": 1.0}


def _distances(a: Any, b: Any, order: float) -> Any:
    if (torch := _torch()) is not None:
        return torch.cdist(a, b, p=order)
    import numpy as np

    # Row by row: all differences at once would take n times m times the dimension.
    return np.stack([np.linalg.norm(row - b, ord=order, axis=-1) for row in a])


def _matrix(values: Any) -> Any:
    found = _floats(values)
    return found if found.ndim > 1 else found.reshape(1, -1)


def _floats(values: Any) -> Any:
    """A tensor (an array without torch), with what is narrower than float32 widened to it."""
    torch = _torch()
    if torch is None:
        import numpy as np

        return np.asarray(values, dtype=np.float32)
    if isinstance(values, list | tuple) and values and not isinstance(values[0], float | int):
        # Row by row: of a list of arrays torch would read every number by itself.
        found = torch.stack([torch.as_tensor(row) for row in values])
    else:
        found = torch.as_tensor(values)
    return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found


def _unit(matrix: Any) -> Any:
    # The smallest length is that of torch.nn.functional.normalize: a row of zeros stays one.
    lengths = ((matrix * matrix).sum(-1) ** 0.5).clip(1e-12)
    return matrix / lengths[..., None]


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch
