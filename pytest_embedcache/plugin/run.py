"""The state of one run in one process: its settings, registries and stores, and their counts."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models import defaults
from pytest_embedcache.plugin.counts import Counts, serialize
from pytest_embedcache.plugin.settings import Mode, Settings

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["Run"]


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
        self._retired: list[dict[str, Any]] = []
        self._caches: dict[Mode, VectorCache] = {}
        self._keys: dict[int, tuple[str, str]] = {}

    def start(self) -> None:
        """Have the default registry and store made our way, if anybody comes to use them."""
        self._before = defaults.set_factories(self.shared_registry, self.default_cache)
        registry = sys.modules.get("pytest_embedcache.models.registry")
        # Somebody may have used it before the plugins were configured.
        if registry is not None and registry._default is not None:
            self._shared = registry._default
            self._shared.after_import = self._after_import
            self._registries.append(self._shared)

    def stop(self) -> None:
        """Put back what was changed, and close what was opened."""
        defaults.set_factories(*self._before)
        torch = sys.modules.get("torch")
        if self._threads_before is not None and torch is not None:
            torch.set_num_threads(self._threads_before)
        for cache in self._caches.values():
            cache.close()

    def shared_registry(self) -> ModelRegistry:
        """The registry of fixtures and of code under test alike: the process's default one."""
        if self._shared is None:
            self._shared = self.make_registry()
        return self._shared

    def make_registry(self) -> ModelRegistry:
        """A registry whose counts are in the summary."""
        from pytest_embedcache.models.registry import ModelRegistry

        registry = ModelRegistry(cache_dir=self.settings.dir, after_import=self._after_import)
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

    def model(self, asked: str | Mapping[str, Any] | None = None) -> Any:
        """The model of a fixture; `asked` is the marker's part, or a name."""
        from pytest_embedcache.plugin.pins import pinned
        from pytest_embedcache.spec import ModelSpec
        from pytest_embedcache.vectors.api import cached_model

        options: dict[str, Any] = {
            "model": self.settings.model,
            "device": self.settings.device,
            "mode": self.settings.mode,
        }
        options |= {"model": asked} if isinstance(asked, str) else dict(asked or {})
        cache = self.cache(Mode(options.pop("mode")))
        spec = ModelSpec(options.pop("model"), **options)
        registry = self.shared_registry()
        model = pinned(self, spec, lambda found: cached_model(registry, cache, found))
        self._keys[id(model)] = (model.name, model.spec.device or "")
        return model

    def used(self, model: object) -> None:
        """A test had this model in a fixture."""
        if (key := self._keys.get(id(model))) is not None:
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
        if int(limit) < before:
            if self._threads_before is None:
                self._threads_before = before
            torch.set_num_threads(int(limit))
        self.threads = min(int(limit), before)
