"""`get_model`, and the store that all models of a process share."""

from __future__ import annotations

import atexit
import functools
import os
import threading
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import ExportError, MissingExtraError
from pytest_embedcache.files import cache_directory
from pytest_embedcache.models import defaults
from pytest_embedcache.models import registry as registries
from pytest_embedcache.models.registry import ModelRegistry, default_registry
from pytest_embedcache.models.strategies import Strategy, default_strategy, strategy_named
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors import history
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.source import say_instead
from pytest_embedcache.vectors.store_settings import StoreSettings

if TYPE_CHECKING:
    from pytest_embedcache.vectors.policy import Policy
    from pytest_embedcache.vectors.redis import RedisStore
    from pytest_embedcache.vectors.store import VectorStore

__all__ = [
    "StoreSettings",
    "by_strategy",
    "cached_model",
    "default_cache",
    "forget_model",
    "get_model",
    "open_cache",
    "open_redis",
    "swap_default_cache",
]


def open_cache(
    settings: StoreSettings,
    recordings: VectorStore | None = None,
    policy: Policy | None = None,
    *,
    redis_client: Any = None,
) -> VectorCache:
    """A cache of the tiers memory, `recordings` where there are some, SQLite, and Redis if set.

    `redis_client` is a `redis.Redis` to use in place of one that is made from the settings.
    """
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
    redis = open_redis(settings, redis_client)
    if redis is not None:
        tiers.append(redis)
    return VectorCache(TieredStore(tiers), policy)


def open_redis(settings: StoreSettings, client: Any = None) -> RedisStore | None:
    """The Redis of the settings, or of `client`, where there is one; not connected yet."""
    if not settings.redis_url and client is None:
        return None
    from pytest_embedcache.vectors.redis import RedisStore

    return RedisStore(
        settings.redis_url,
        prefix=settings.redis_prefix,
        ttl=settings.redis_ttl,
        cluster=settings.redis_cluster,
        client=client,
    )


_default: VectorCache | None = None
_default_lock = threading.Lock()
#: By cache and spec; that of a strategy which another backend may serve also by its name.
_Models = dict[tuple[Any, ...], CachedModel]
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
    strategy: str | None = None,
    device: str | None = "cpu",
    revision: str | None = None,
    backend: str | None = None,
    form: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    cache_folder: str | None = None,
    token: str | bool | None = None,
) -> CachedModel:
    """Return the model `name`: one object for everyone in the process, its vectors cached.

    `strategy` says when it is loaded, and in which form: with `lazy` at the first text whose vector
    is in no store. None is the strategy of its `preload`, else `EMBEDCACHE_STRATEGY`, else `lazy`.
    The other arguments are those of `ModelSpec`. A name means one model for the life of the process
    (`default_registry().evict(name)` asks anew).

    Raises:
        ModelNotFoundError, FetchError, SnapshotError, LockTimeoutError: No such model can be had.
        ExportError, MissingExtraError: Not in this form.
        ModelSpecError: A value cannot be used.
    """
    chosen = default_strategy(name) if strategy is None else strategy_named(strategy)
    left_open = strategy is None
    options = (device, revision, backend, form, dtype, trust_remote_code, cache_folder)
    if token is None and isinstance(name, str) and cache_folder is None:
        spec = _spec(name, chosen, left_open, *options)
    else:  # a token is not kept, and a relative path means another directory elsewhere
        spec = _spec.__wrapped__(name, chosen, left_open, *options, token)
    registry, cache = registries._default or default_registry(), _default or default_cache()
    return by_strategy(registry, cache, spec, chosen, named=backend is not None)


def by_strategy(
    registry: ModelRegistry,
    cache: VectorCache,
    spec: ModelSpec,
    strategy: Strategy,
    *,
    named: bool = False,
) -> CachedModel:
    """`cached_model` of a spec that the strategy has decided; its load begins if it has to.

    Nothing serves instead of a backend that the caller has `named`.
    """
    if strategy.instead is not None and not named:
        return _with_instead(registry, cache, spec, strategy.instead)
    model = cached_model(registry, cache, spec)
    if strategy.at_once:
        model.start_loading()
    return model


def _with_instead(
    registry: ModelRegistry, cache: VectorCache, spec: ModelSpec, instead: str
) -> CachedModel:
    """The model of `spec`; where it cannot be prepared, the one of the backend `instead`."""
    key = (cache, spec, instead)
    evictions, models = vars(registry).get(_SLOT, _NONE)
    if evictions == registry.evictions and (model := models.get(key)) is not None:
        found: CachedModel = model
        return found
    other = spec.replace(backend=instead, form="float32")
    while True:
        evictions = registry.evictions
        lasting = registries.means_the_same_later(spec)
        try:
            if (missing := registry.missing(spec)) is not None:
                raise missing
            made = CachedModel(registry, spec, cache)
            # That it cannot be prepared may show at the first text.
            made.serve_instead(other)
        except (ExportError, MissingExtraError) as error:
            say_instead(spec, other, error)
            made = cached_model(registry, cache, other)
        with _default_lock:
            if registry.evictions == evictions:
                asked = key if lasting else None
                return _keep(registry, asked, (cache, made.spec, instead), made)


def cached_model(registry: ModelRegistry, cache: VectorCache, spec: ModelSpec) -> CachedModel:
    """The one `CachedModel` of a registry, a cache and a model. Raises as `get_model` does."""
    if spec.backend == "openai":
        from pytest_embedcache.vectors.fake_remotes import cache_apart

        cache = cache_apart(spec, cache)
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


def forget_model(registry: ModelRegistry, model: CachedModel) -> None:
    """Let the next call make it anew, and load it anew: its files are another model's by now."""
    registry.evict(model.spec)
    with _default_lock:
        _, models = vars(registry).get(_SLOT, _NONE)
        for asked in [asked for asked, made in models.items() if made is model]:
            del models[asked]


def _keep(
    registry: ModelRegistry,
    asked: tuple[Any, ...] | None,
    resolved: tuple[Any, ...],
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
    strategy: Strategy,
    left_open: bool,
    device: str | None,
    revision: str | None,
    backend: str | None,
    form: str | None,
    dtype: str | None,
    trust_remote_code: bool,
    cache_folder: str | None,
    token: str | bool | None = None,
) -> ModelSpec:
    kind = strategy.kind(backend, form, chosen=not left_open)
    return ModelSpec(
        name,
        revision=revision,
        backend=kind[0],
        form=kind[1],
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
