"""The state of one run in one process: its settings, registries and stores, and their counts."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models import defaults
from pytest_embedcache.plugin.counts import Counts, serialize
from pytest_embedcache.plugin.settings import Mode, Settings

if TYPE_CHECKING:
    from pytest_embedcache.models.backends import Backend
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.testing.fakes import FakeSentenceTransformers
    from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["Run"]

#: A name, or some of `ModelSpec`'s fields with the name as `model`; None is the run's own model.
Asked = str | os.PathLike[str] | Mapping[str, Any] | Iterable[tuple[str, Any]] | None


class Run:
    """Kept in `config.stash`; costs nothing until a model is asked for.

    `workers` is the number of processes that share the machine's cores. `name` is that of the whole
    distributed run, None for a run in one process.
    """

    def __init__(self, settings: Settings, *, workers: int = 1, name: str | None = None) -> None:
        self.settings = settings
        self.workers = workers
        self.name = name
        #: Tests that had a model, by the model's name and device.
        self.uses: Counter[tuple[str, str]] = Counter()
        self.threads: int | None = None
        self._threads_before: int | None = None
        self._registries: list[ModelRegistry] = []
        self._shared: ModelRegistry | None = None
        self._adopted: tuple[ModelRegistry, Any, Any] | None = None
        self._retired: list[dict[str, Any]] = []
        self._caches: dict[Mode, VectorCache] = {}
        #: The models that fixtures gave, with name and device.
        self._given: weakref.WeakKeyDictionary[Any, tuple[str, str]] = weakref.WeakKeyDictionary()
        #: What the fixture of fakes gives, while a test has it; its twin gives the same.
        self.fakes: FakeSentenceTransformers | None = None

    def start(self) -> None:
        """Have the default registry and store made our way, if anybody comes to use them."""
        self._before = defaults.set_factories(self.shared_registry, self.default_cache)
        registry = sys.modules.get("pytest_embedcache.models.registry")
        # A conftest may have used it before the plugins were configured.
        if registry is not None and registry._default is not None:
            found = self._shared = registry._default
            self._adopted = found, found.after_import, found.backends
            self._registries.append(found)
            found.after_import = self._after_import
            found.backends = found.backends or registry.BACKENDS
            if found.stats().loads:
                self._after_import(False)

    def stop(self) -> None:
        """Put back what was changed, and close what was opened."""
        defaults.set_factories(*self._before)
        if self._adopted is not None:
            found, hook, backends = self._adopted
            found.after_import, found.backends = hook, backends
        else:
            registry = sys.modules.get("pytest_embedcache.models.registry")
            if registry is not None and registry._default is self._shared:
                registry.swap_default_registry(None)
        api = sys.modules.get("pytest_embedcache.vectors.api")
        if api is not None and api._default in self._caches.values():
            api.swap_default_cache(None)
        torch = sys.modules.get("torch")
        if self._threads_before is not None and torch is not None:
            torch.set_num_threads(self._threads_before)
        for cache in self._caches.values():
            cache.close()

    def shared_registry(self) -> ModelRegistry:
        """The registry of fixtures and of code under test alike: the process's default one."""
        if self._shared is None:
            from pytest_embedcache.models.backends import BACKENDS

            # By name, since a test's fakes stand in for a table that is left open: what a session
            # fixture keeps is real, whichever test asks for it first.
            self._shared = self.make_registry(BACKENDS)
        return self._shared

    def make_registry(self, backends: Mapping[str, Backend] | None = None) -> ModelRegistry:
        """A registry whose counts are in the summary."""
        from pytest_embedcache.models.registry import ModelRegistry

        registry = ModelRegistry(
            cache_dir=None if self.fakes else self.settings.dir,
            backends=backends,
            after_import=self._after_import,
        )
        self._registries.append(registry)
        return registry

    def retire(self, registry: ModelRegistry) -> None:
        """Keep a registry's counts, and let it and its models go."""
        registry.clear()
        self._registries.remove(registry)
        self._retired += registry.stats().as_dict()["models"]

    def default_cache(self) -> VectorCache:
        """The vectors of code under test: those of the run's mode."""
        return self.cache(Mode(self.settings.mode))

    def cache(self, mode: Mode) -> VectorCache:
        """The vectors of `mode`, opened on the first call."""
        if mode not in self._caches:
            from pytest_embedcache.vectors.api import StoreSettings, open_cache
            from pytest_embedcache.vectors.cache import VectorCache

            if mode is Mode.LIVE:
                self._caches[mode] = VectorCache(None)
            else:
                settings = StoreSettings(
                    directory=self.settings.dir,
                    cache_max_size=self.settings.cache_max_size,
                    cache_ttl=self.settings.cache_ttl,
                    redis_url=self.settings.redis_url,
                )
                self._caches[mode] = open_cache(settings)
        return self._caches[mode]

    def model(self, asked: Asked = None) -> Any:
        """The model that was asked for; what is left open is as in the settings."""
        from pytest_embedcache.plugin.pins import pinned
        from pytest_embedcache.spec import ModelSpec
        from pytest_embedcache.vectors.api import cached_model

        options: dict[str, Any] = {
            "model": self.settings.model,
            "device": self.settings.device,
            "mode": self.settings.mode,
        }
        options |= {"model": asked} if isinstance(asked, (str, os.PathLike)) else dict(asked or {})
        cache = self.cache(Mode(options.pop("mode")))
        spec = ModelSpec(options.pop("model"), **options)
        registry = self.shared_registry()
        model = pinned(self, spec, lambda found: cached_model(registry, cache, found))
        self._given[model] = (model.name, model.spec.device or "")
        return model

    def used(self, model: object) -> None:
        """A test had this in a fixture of ours, or in one of that name."""
        try:
            key = self._given.get(model)
        except TypeError:  # the value of somebody's own fixture, which cannot be a key
            return
        if key is not None:
            self.uses[key] += 1

    def directory(self) -> Path:
        """The versioned cache directory of the run."""
        from pytest_embedcache.files import cache_directory

        return cache_directory(self.settings.dir)

    def counts(self) -> Counts:
        """What happened in this process."""
        from pytest_embedcache import notices

        stats = (registry.stats().as_dict()["models"] for registry in self._registries)
        return serialize(
            chain(self._retired, *stats),
            self.uses,
            (cache.tallies.as_dict() for cache in self._caches.values()),
            threads=self.threads,
            notices=notices.counts(),
        )

    def _after_import(self, fresh: bool) -> None:
        if fresh:
            # What an import leaves behind stays; without this each full collection walks over it.
            # Before the model is built, which could otherwise never be freed.
            gc.freeze()
        torch = sys.modules.get("torch")
        if torch is None or self.settings.threads == "off":
            return
        limit = self.settings.threads
        if limit == "auto":
            if self.workers < 2:
                return
            from pytest_embedcache.models.resources import threads_per_worker

            limit = threads_per_worker(self.workers)
        before = torch.get_num_threads()
        if int(limit) < before:  # the user may have set fewer
            if self._threads_before is None:
                self._threads_before = before
            torch.set_num_threads(int(limit))
            self.threads = int(limit)
