"""Vectors of a fake that stands in for a service: kept apart, in memory, as long as it is there."""

from __future__ import annotations

import weakref

from pytest_embedcache.models.backends.openai import endpoint_of
from pytest_embedcache.models.remote import fake_at
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["cache_apart"]

#: By the cache in whose place it stands, and by the fake.
_caches: weakref.WeakKeyDictionary[VectorCache, dict[str, VectorCache]]
_caches = weakref.WeakKeyDictionary()


def cache_apart(spec: ModelSpec, cache: VectorCache) -> VectorCache:
    """The cache for a model behind an API: `cache`, unless a fake answers for it in this process.

    No store of real vectors, and no recording, ever has one of a fake; and what is replayed or
    recorded of real ones has nothing to do with it. What is counted is counted together.
    """
    fake = fake_at(endpoint_of(spec))
    if fake is None or cache.store is None:
        return cache
    apart = _caches.setdefault(cache, {})
    if fake not in apart:
        from pytest_embedcache.vectors.memory import MemoryStore
        from pytest_embedcache.vectors.tiered import TieredStore

        made = VectorCache(TieredStore([MemoryStore()]))
        made.tallies = cache.tallies
        apart.clear()  # of fakes that are gone
        apart[fake] = made
    return apart[fake]
