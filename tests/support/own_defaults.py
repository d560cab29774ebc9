"""A default registry and a default store of a test's own, in its own cache directory.

The plugin, which is active in these tests too, would give the run's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_embedcache import ModelRegistry
from pytest_embedcache.models.registry import swap_default_registry
from pytest_embedcache.vectors.api import StoreSettings, open_cache, swap_default_cache
from pytest_embedcache.vectors.cache import VectorCache


@contextmanager
def own_defaults() -> Iterator[tuple[ModelRegistry, VectorCache]]:
    """Until the end of the block, what `get_model` uses is new, and nobody else's."""
    registry, cache = ModelRegistry(), open_cache(StoreSettings.from_environment())
    before = swap_default_registry(registry), swap_default_cache(cache)
    try:
        yield registry, cache
    finally:
        swap_default_registry(before[0])
        swap_default_cache(before[1])
        cache.close()
