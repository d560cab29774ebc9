"""The state of one run in one process: its settings, registries and stores, and their counts."""

from __future__ import annotations

import sys
import threading
import weakref
from collections import Counter
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.models import defaults
from pytest_embedcache.plugin.counts import Counts, serialize
from pytest_embedcache.plugin.guard import ModelGuard
from pytest_embedcache.plugin.process import OwnProcess
from pytest_embedcache.plugin.recordings import RunRecordings
from pytest_embedcache.plugin.registries import Registries
from pytest_embedcache.plugin.table import Mode
from pytest_embedcache.plugin.waking import BEGAN, DESELECTED, surroundings

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.plugin.asked import Asked
    from pytest_embedcache.plugin.gates import Gates
    from pytest_embedcache.plugin.host import RunHost
    from pytest_embedcache.plugin.settings import Settings
    from pytest_embedcache.testing.fakes import FakeSentenceTransformers
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.policy import Policy
    from pytest_embedcache.vectors.tiered import TieredStore

__all__ = ["Run"]


class _Use:
    """How many tests had a model. A device that was left open is known once it is loaded."""

    def __init__(self, name: str, device: str) -> None:
        self.name = name
        self.device = device
        self.count = 0


class Run:
    """Kept in `config.stash`; costs nothing until a model is asked for.

    `workers` is the number of processes that share the machine's cores. `name` is that of the whole
    distributed run, None for a run in one process. `config` has what captures output, if anything.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int = 1,
        name: str | None = None,
        config: pytest.Config | None = None,
    ) -> None:
        self.settings = settings
        self.name = name
        self.process = OwnProcess(settings, workers, config)
        #: What the fixture of fakes gives, while a test has it; its twin gives the same.
        self.fakes: FakeSentenceTransformers | None = None
        #: Tests that were collected and deselected.
        self.left_out = config.stash[DESELECTED] if config else []
        #: What this process had around it when the run began.
        self.began = config.stash[BEGAN] if config else surroundings()
        self.workers = workers
        #: The process with which a distributed run ends, where it is on this machine.
        self.owner: int | None = None
        #: The way to a model host, once a model is needed.
        self.host: RunHost | None = None
        self.recordings = RunRecordings(settings, self.directory, name, self.left_out)
        #: Forbids real models where the option, the marker or a fixture says so.
        self.guard = ModelGuard()
        self._guarding = ExitStack()
        self.registries = Registries(self)
        #: A test's threads may be the first to ask for vectors, several at once.
        self._lock = threading.RLock()
        self._root: str | None = settings.dir
        self._caches: dict[Mode, VectorCache] = {}
        self._adopted_cache: tuple[VectorCache, TieredStore | None, Policy] | None = None
        #: The models that fixtures gave.
        self._given: weakref.WeakKeyDictionary[Any, _Use] = weakref.WeakKeyDictionary()
        self._uses: list[_Use] = []

    def start(self) -> None:
        """Have the default registry and store made our way, if anybody comes to use them.

        Raises `pytest.UsageError` where a conftest has used a store, and the settings cannot be.
        """
        self._before = defaults.set_factories(self.shared_registry, self.default_cache)
        self._table_before = defaults.backends
        fake = self.settings.mode == Mode.FAKE
        if fake:  # for registries of code under test, too
            defaults.backends = self.registries.fakes()
        if self.settings.no_models:
            self._guarding.enter_context(self.guard.set(True))
        self._strategy_before = defaults.strategy
        if "strategy" in self.settings.given:
            defaults.strategy = self.settings.strategy
        self.registries.adopt()
        api = sys.modules.get("pytest_embedcache.vectors.api")
        if api is not None and api._default is not None:
            self._adopt_cache(api._default)

    def _adopt_cache(self, found: VectorCache) -> None:
        """Let models that were made before read and write what the run's settings say."""
        from pytest_embedcache.errors import EmbedCacheError

        mode = Mode(self.settings.mode)
        try:
            ours = self.cache(mode)
        except EmbedCacheError as error:
            raise pytest.UsageError(str(error)) from None
        self._adopted_cache = found, found.swap_store(ours.store), found.policy
        found.policy = ours.policy
        found.in_history = False  # but in the run's
        self._caches[mode] = found

    def stop(self) -> None:
        """Put back what was changed, and close what was opened."""
        self._guarding.close()
        defaults.set_factories(*self._before)
        defaults.backends = self._table_before
        defaults.strategy = self._strategy_before
        self.registries.leave()
        self.process.put_back()
        for cache in self._caches.values():
            cache.close()
        api = sys.modules.get("pytest_embedcache.vectors.api")
        if self._adopted_cache is not None:
            adopted, store, policy = self._adopted_cache
            adopted.policy = policy
            adopted.swap_store(store)
        elif api is not None and api._default in self._caches.values():
            api.swap_default_cache(None)
        if self.host is not None:
            self.host.close()
        # A process that goes on has no use for the models, and pytest keeps its config for ever.
        self.registries.clear()
        self._caches.clear()
        self._given.clear()

    def shared_registry(self) -> ModelRegistry:
        """The registry of code under test: the process's default one."""
        return self.registries.shared(Mode(self.settings.mode))

    def default_cache(self) -> VectorCache:
        """The vectors of code under test: those of the run's mode."""
        return self.cache(Mode(self.settings.mode))

    def cache(self, mode: Mode) -> VectorCache:
        """The vectors of `mode`, opened on the first call."""
        with self._lock:
            if mode not in self._caches:
                self._caches[mode] = self._opened(mode)
            return self._caches[mode]

    def _opened(self, mode: Mode) -> VectorCache:
        from dataclasses import replace

        from pytest_embedcache.vectors.api import StoreSettings
        from pytest_embedcache.vectors.cache import VectorCache

        if mode is Mode.LIVE:
            return VectorCache(None)
        if mode is Mode.FAKE:
            from pytest_embedcache.testing.fake_backend import fake_cache

            return fake_cache()
        # What is no setting of the plugin (the prefix in Redis, …) is as in production.
        settings = replace(
            StoreSettings.from_environment(self.root),
            cache_max_size=self.settings.cache_max_size,
            cache_ttl=self.settings.cache_ttl,
            redis_url=self.settings.redis_url,
        )
        return self.recordings.cache(mode, settings)

    def model(self, asked: Asked = None) -> Any:
        """The model that was asked for; what is left open is as in the settings.

        Raises:
            EmbedCacheError: There is no such model, or no such mode.
        """
        from pytest_embedcache.plugin.imports import as_in_production

        with as_in_production():  # the first call imports numpy, and half of this package
            from pytest_embedcache.plugin.asked import read
            from pytest_embedcache.vectors.api import by_strategy

            wanted = read(self.settings, asked)
            cache = self.cache(wanted.mode)
        registry = self.registries.shared(wanted.mode)
        model = by_strategy(registry, cache, wanted.spec, wanted.strategy, named=wanted.named)
        if model not in self._given:
            use = self._given[model] = _Use(model.name, model.spec.device or "auto")
            self._uses.append(use)
        return model

    def used(self, model: object) -> None:
        """A test had this in a fixture of ours, or in one of that name."""
        try:
            use = self._given.get(model)
        except TypeError:  # the value of somebody's own fixture, which cannot be a key
            return
        if use is not None:
            use.count += 1

    @cached_property
    def gates(self) -> Gates:
        """The speed-up gates of this process."""
        from pytest_embedcache.plugin.gates import Gates

        return Gates(self.settings.gates, self.workers, self.left_out)

    @property
    def root(self) -> str:
        """The cache directory of the whole run, whatever a test makes of the environment."""
        if self._root is None:
            from pytest_embedcache.files import user_directory

            # No variable was set when the run began; a test's fakes, or the test itself, set one.
            self._root = user_directory()
        return self._root

    def directory(self) -> Path:
        """The versioned cache directory of the run."""
        from pytest_embedcache.files import cache_directory

        return cache_directory(self.root)

    def counts(self) -> Counts:
        """What happened in this process."""
        from pytest_embedcache import notices

        uses: Counter[tuple[str, str]] = Counter()
        for model, use in self._given.items():
            use.device = model.spec.device or use.device
        for use in self._uses:
            if use.count:
                uses[use.name, use.device] += use.count
        counts = serialize(
            self.registries.rows(),
            uses,
            (cache.tallies.as_dict() for cache in self._caches.values()),
            threads=self.process.threads,
            notices=notices.counts(),
            gates=self.gates.rows if "gates" in self.__dict__ else (),
        )
        return counts if self.host is None else counts | self.host.counts()
