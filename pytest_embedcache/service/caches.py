"""Where the vectors of a service are kept."""

from __future__ import annotations

import contextlib
from typing import Any

from pytest_embedcache.errors import SettingsError, StoreError
from pytest_embedcache.vectors.api import default_cache, open_cache
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.store_settings import StoreSettings

__all__ = ["cache_for", "redis_memory"]


def cache_for(
    redis_client: Any, enabled: bool, given: VectorCache | None
) -> tuple[VectorCache, bool]:
    """The cache of a service, and whether it is to be closed with it.

    Raises `SettingsError` for arguments that exclude each other, and for an asynchronous client.
    """
    if redis_client is not None:
        remedy = None
        if given is not None or not enabled:
            remedy = f"leave it out, or {'cache=' if enabled else 'enable_caching=False'}"
        elif hasattr(redis_client, "__aenter__"):
            remedy = "give a redis.Redis, not one of redis.asyncio"
        if remedy is not None:
            raise SettingsError("redis_client", type(redis_client), "the argument", remedy)
        return open_cache(StoreSettings.from_environment(), redis_client=redis_client), True
    if not enabled:
        return VectorCache(None), False
    return given or default_cache(), False


def redis_memory(cache: VectorCache) -> int | None:
    """Bytes that the Redis server uses; None where there is none, or it does not answer."""
    for tier in () if cache.store is None else cache.store.stores:
        if (ask := getattr(tier, "memory_used", None)) is not None:
            with contextlib.suppress(StoreError):
                return int(ask())
    return None
