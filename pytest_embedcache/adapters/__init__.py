"""Other libraries' embedding interfaces, over a `CachedModel`: one file each."""

from __future__ import annotations

import os
from typing import Any

from pytest_embedcache.vectors.api import get_model
from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["as_list", "as_lists", "as_model"]


def as_model(model: str | os.PathLike[str] | CachedModel, options: dict[str, Any]) -> CachedModel:
    """A model given by name, or as it is; `options` are those of `get_model`."""
    if isinstance(model, CachedModel):
        if options:
            raise TypeError(f"{sorted(options)} go with a model's name, not with a loaded model")
        return model
    return get_model(model, **options)


def as_list(vector: Any) -> list[float]:
    """A vector as Python floats."""
    found: list[float] = vector.tolist()
    return found


def as_lists(matrix: Any) -> list[list[float]]:
    """A matrix as one list of Python floats for each row."""
    found: list[list[float]] = matrix.tolist()
    return found
