"""The models behind the stand-ins: those of the default registry, that nobody has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["SharedModels"]


class SharedModels:
    """Finds a spec's model.

    Args:
        make_registry: Makes the registry in which a model is loaded again if somebody has changed
            the one that all share; None makes a plain one.
        importing: Around what may import the rest of this package.
    """

    def __init__(
        self,
        make_registry: Callable[[], ModelRegistry] | None = None,
        importing: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._make_registry = make_registry
        self._importing = importing
        self._lock = threading.Lock()
        self._spare: ModelRegistry | None = None

    def get(self, spec: ModelSpec, *, as_now: bool = False) -> CachedModel:
        """The model of `spec`; with `as_now`, of its files as they are at this moment.

        Raises as `get_model` does.
        """
        with self._importing():
            from pytest_embedcache.models.registry import default_registry
            from pytest_embedcache.vectors.api import default_cache

            registry, cache = default_registry(), default_cache()
        found = self._in(registry, cache, spec, as_now=as_now)
        if found.is_changed:  # by somebody who has it from a fixture, or from `get_model`
            found = self._in(self._other(), cache, found.spec, as_now=as_now)
        return found

    def _in(
        self, registry: ModelRegistry, cache: Any, spec: ModelSpec, *, as_now: bool
    ) -> CachedModel:
        from pytest_embedcache.vectors.api import cached_model, forget_model

        found = cached_model(registry, cache, spec)
        if as_now and found.is_outdated():
            forget_model(registry, found)
            found = cached_model(registry, cache, spec)
        return found

    def _other(self) -> ModelRegistry:
        with self._lock:
            if self._spare is None:
                if self._make_registry is None:
                    from pytest_embedcache.models.registry import ModelRegistry

                    self._make_registry = ModelRegistry
                self._spare = self._make_registry()
            return self._spare
