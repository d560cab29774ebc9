"""`get_model`, and the store that all models of a process share."""

from __future__ import annotations

import atexit
import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pytest_embedcache.errors import SettingsError
from pytest_embedcache.files import cache_directory
from pytest_embedcache.models import defaults
from pytest_embedcache.models import registry as registries
from pytest_embedcache.models.registry import ModelRegistry, default_registry
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors import history
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel

if TYPE_CHECKING:
    from pytest_embedcache.vectors.policy import Policy
    from pytest_embedcache.vectors.redis import RedisStore
    from pytest_embedcache.vectors.store import VectorStore

__all__ = [
    "StoreSettings",
    "cached_model",
    "default_cache",
    "get_model",
    "open_cache",
    "open_redis",
    "swap_default_cache",
]

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


def _yes(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("give 1 or 0")


_READ: dict[str, Callable[[str], Any]] = {
    "cache_max_size": _positive,
    "cache_ttl": _positive,
    "memory_max_size": _positive,
    "memory_ttl": _positive,
    "redis_url": str,
    "redis_prefix": str,
    "redis_ttl": _positive,
    "redis_cluster": _yes,
}


def open_cache(
    settings: StoreSettings,
    recordings: VectorStore | None = None,
    policy: Policy | None = None,
) -> VectorCache:
    """A cache of the tiers memory, `recordings` where there are some, SQLite, and Redis if set."""
    from pytest_embedcache.vectors.memory import MemoryStore
    from pytest_embedcache.vectors.sqlite import SqliteStore
    from pytest_embedcache.vectors.tiered import TieredStore

    memory_ttl = settings.cache_ttl if settings.memory_ttl is None else settings.memory_ttl
    tiers: list[Any] = [
        MemoryStore(max_bytes=settings.memory_max_size, ttl=memory_ttl),
        SqliteStore(settings.directory, max_bytes=settings.cache_max_size, ttl=settings.cache_ttl),
    ]
    if recordings is not None:
        tiers.insert(1, recordings)
    redis = open_redis(settings)
    if redis is not None:
        tiers.append(redis)
    return VectorCache(TieredStore(tiers), policy)


def open_redis(settings: StoreSettings) -> RedisStore | None:
    """The Redis of the settings, where one is set; not connected yet."""
    if not settings.redis_url:
        return None
    from pytest_embedcache.vectors.redis import RedisStore

    return RedisStore(
        settings.redis_url,
        prefix=settings.redis_prefix,
        ttl=settings.redis_ttl,
        cluster=settings.redis_cluster,
    )


_default: VectorCache | None = None
_default_lock = threading.Lock()
_Models = dict[tuple[VectorCache, ModelSpec], CachedModel]
#: The attribute of a registry with its count of evictions when the models were made, and the
#: models. There, since they refer to it: in a dictionary here, even a weak one, they would keep
#: every registry of every test alive.
_SLOT = "_cached_models"
_NONE: tuple[int, _Models] = (-1, {})


def default_cache() -> VectorCache:
    """The process's store with its counts, made on the first call."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = (defaults.cache_factory or _open_default)()
    return _default


def _open_default() -> VectorCache:
    settings = StoreSettings.from_environment()
    directory = cache_directory(settings.directory)  # as it is now, like the store's
    cache = open_cache(settings)
    process = os.getpid()

    def at_end() -> None:
        # A forked child has its parent's loads among its own.
        registry = registries._default if os.getpid() == process else None
        models = registry.stats().as_dict()["models"] if registry else ()
        if cache.in_history:
            history.append(directory, history.rows_of(cache.tallies.as_dict(), models))
        cache.close()

    atexit.register(at_end)
    return cache


def swap_default_cache(cache: VectorCache | None) -> VectorCache | None:
    """Put `cache` in the place of the default one and return what was there (for tests)."""
    global _default
    with _default_lock:
        previous, _default = _default, cache
    for registry in list(registries._registries):
        vars(registry).pop(_SLOT, None)
    return previous


def get_model(
    name: str | os.PathLike[str],
    *,
    device: str | None = "cpu",
    revision: str | None = None,
    backend: str = "torch",
    form: str = "float32",
    dtype: str | None = None,
    trust_remote_code: bool = False,
    cache_folder: str | None = None,
    token: str | bool | None = None,
) -> CachedModel:
    """Return the model `name`: one object for everyone in the process, its vectors cached.

    The arguments are those of `ModelSpec`. Nothing is loaded yet: that happens at the first text
    whose vector is in no store. A name means one model for the life of the process
    (`default_registry().evict(name)` asks anew).

    Raises:
        ModelNotFoundError, FetchError, SnapshotError, LockTimeoutError: No such model can be had.
        ModelSpecError: A value cannot be used.
    """
    options = (device, revision, backend, form, dtype, trust_remote_code, cache_folder)
    if token is None and isinstance(name, str) and cache_folder is None:
        spec = _spec(name, *options)
    else:  # a token is not kept, and a relative path means another directory elsewhere
        spec = _spec.__wrapped__(name, *options, token)
    return cached_model(
        registries._default or default_registry(), _default or default_cache(), spec
    )


def cached_model(registry: ModelRegistry, cache: VectorCache, spec: ModelSpec) -> CachedModel:
    """The one `CachedModel` of a registry, a cache and a model. Raises as `get_model` does."""
    evictions, models = vars(registry).get(_SLOT, _NONE)
    if evictions == registry.evictions and (model := models.get((cache, spec))) is not None:
        found: CachedModel = model
        return found
    while True:
        evictions = registry.evictions
        lasting = registries.means_the_same_later(spec)  # asked first: it may change meanwhile
        made = CachedModel(registry, spec, cache)
        with _default_lock:
            if registry.evictions == evictions:  # else it may be the model that was forgotten
                return _keep(registry, (cache, spec) if lasting else None, (cache, made.spec), made)


def _keep(
    registry: ModelRegistry,
    asked: tuple[VectorCache, ModelSpec] | None,
    resolved: tuple[VectorCache, ModelSpec],
    made: CachedModel,
) -> CachedModel:
    evictions, models = vars(registry).get(_SLOT, _NONE)
    if evictions != registry.evictions:
        models = {}
        setattr(registry, _SLOT, (registry.evictions, models))
    # Two spellings of one model are one object.
    model: CachedModel = models.setdefault(resolved, made)
    return models.setdefault(asked, model) if asked is not None else model


@functools.lru_cache(maxsize=256)
def _spec(
    name: str,
    device: str | None,
    revision: str | None,
    backend: str,
    form: str,
    dtype: str | None,
    trust_remote_code: bool,
    cache_folder: str | None,
    token: str | bool | None = None,
) -> ModelSpec:
    return ModelSpec(
        name,
        revision=revision,
        backend=backend,
        form=form,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        cache_folder=cache_folder,
        token=token,
    )


def _after_fork_in_child() -> None:
    global _default_lock
    _default_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
