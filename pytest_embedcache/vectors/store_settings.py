"""Where vectors are kept, and how much of them, as the environment says."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from pytest_embedcache.errors import SettingsError

__all__ = ["StoreSettings"]

_GIB = 2**30


@dataclass(frozen=True)
class StoreSettings:
    """Where vectors are kept, and how much of them.

    Attributes:
        directory: The cache directory; `None` is the default one.
        cache_max_size: Bytes of the SQLite store; the least recently used go first.
        cache_ttl: Seconds after which a vector in SQLite is computed anew; `None` keeps it.
        memory_max_size: Bytes of the memory tier.
        memory_ttl: Seconds that a vector stays in memory from when it was put or found; `None` is
            `cache_ttl`, so that a process that runs for weeks computes anew what is to be.
        redis_url: A Redis that several machines share, `redis://` or `rediss://`; `None` for none.
            Not in the repr: it may hold a password.
        redis_prefix: The first part of its keys.
        redis_ttl: Seconds after which a vector in Redis goes.
        redis_cluster: Whether the Redis is a cluster, of which the URL names one node.
    """

    directory: str | None = None
    cache_max_size: int = 4 * _GIB
    cache_ttl: float | None = None
    memory_max_size: int = _GIB // 8
    memory_ttl: float | None = None
    redis_url: str | None = field(default=None, repr=False)
    redis_prefix: str = "embed"
    redis_ttl: int = 7 * 24 * 3600
    redis_cluster: bool = False

    @classmethod
    def from_environment(cls, directory: str | None = None) -> Self:
        """`EMBEDCACHE_` + `CACHE_MAX_SIZE`, `CACHE_TTL`, `MEMORY_MAX_SIZE`, `MEMORY_TTL`, …

        Raises `SettingsError` for a number that is none.
        """
        found: dict[str, Any] = {}
        for name, read in _READ.items():
            variable = f"EMBEDCACHE_{name.upper()}"
            if text := os.environ.get(variable):
                try:
                    found[name] = read(text)
                except ValueError as error:
                    raise SettingsError(name, text, variable, str(error)) from error
        return cls(directory=directory, **found)


def _positive(text: str) -> int:
    value = int(text) if text.strip().isdecimal() else 0
    if value <= 0:
        raise ValueError("give a whole number above 0")
    return value


def _bytes(text: str) -> int:
    try:
        return _positive(text)
    except ValueError:
        raise ValueError("give it in bytes, as a whole number above 0") from None


def _yes(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("give 1 or 0")


_READ: dict[str, Callable[[str], Any]] = {
    "cache_max_size": _bytes,
    "cache_ttl": _positive,
    "memory_max_size": _bytes,
    "memory_ttl": _positive,
    "redis_url": str,
    "redis_prefix": str,
    "redis_ttl": _positive,
    "redis_cluster": _yes,
}
