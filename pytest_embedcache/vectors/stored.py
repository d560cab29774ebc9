"""Whether a text's vector can be had without the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["are_stored"]


def are_stored(model: CachedModel, texts: Sequence[str], *, role: str | None = None) -> bool:
    """Whether a store has the vectors of all `texts` in that role; loads nothing."""
    store, keys = model._cache.store, model.keys(texts, role=role)
    if store is None or not keys:
        return not texts
    return len(store.get_many(model.fingerprint, keys)) == len(set(keys))
