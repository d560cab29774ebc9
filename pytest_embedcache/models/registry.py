"""In one process: every model once, for everyone who asks."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from pytest_embedcache import errors
from pytest_embedcache.errors import ModelNotFoundError, ModelSpecError, SnapshotError
from pytest_embedcache.models import defaults
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends import BACKENDS, Backend, Probing, describe
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.idle import IdleUnloader, default_idle_timeout, idle
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.stats import Counts, ModelStats, RegistryStats
from pytest_embedcache.models.turn import turn
from pytest_embedcache.spec import ModelSpec

__all__ = [
    "ModelRegistry",
    "ModelStats",
    "RegistryStats",
    "all_registries",
    "default_registry",
    "means_the_same_later",
    "swap_default_registry",
]


class ModelRegistry:
    """Maps a spec to its loaded model: one load per resolved spec, however many threads ask.

    A failed load is not kept: everyone who waited gets the error, the next call tries again.

    Args:
        cache_dir: Where prepared models are kept; `None` is the default cache directory.
        backends: Table of backends by name; `None` is the package's own, or that of the fakes as
            long as a test has them.
        after_import: Called before a model is built, with whether the libraries were imported
            just now. The pytest plugin sets threads and freezes the garbage collector there.
        idle_timeout: Seconds without use after which a model is unloaded; 0 is at the end of each
            use, -1 never; `None` is what `EMBEDCACHE_MODEL_TIMEOUT` says, else never.
        unloader: Keeps that time.
    """

    #: Where a host may have the models, another class.
    make_handle: Callable[..., ModelHandle] = ModelHandle

    def __init__(
        self,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        backends: Mapping[str, Backend] | None = None,
        after_import: Callable[[bool], None] | None = None,
        idle_timeout: float | None = None,
        unloader: IdleUnloader = idle,
    ) -> None:
        self.after_import = after_import
        self.idle_timeout = default_idle_timeout() if idle_timeout is None else idle_timeout
        self._unloader = unloader
        self._cache_dir = cache_dir
        self.backends = backends
        self._lock = threading.RLock()
        # Resolved specs, and the spellings under which they were asked for.
        self._handles: dict[ModelSpec, ModelHandle] = {}
        self._counts: dict[ModelSpec, Counts] = {}
        self._artifacts: ArtifactStore | None = None
        #: Grows with everything that is forgotten: what was made of a model then is out of date.
        self.evictions = 0
        _registries.add(self)

    @property
    def artifacts(self) -> ArtifactStore:
        """The machine's prepared models."""
        if self._artifacts is None:  # not cached_property: in Python 3.11 that holds a lock
            self._artifacts = ArtifactStore(self._cache_dir)
        return self._artifacts

    def get(self, spec: ModelSpec | str) -> Any:
        """Return the model of `spec`, loaded on the first call; a hit takes no lock.

        Whoever gets it may change it. So from then on its vectors are no longer those of its files,
        and a `CachedModel` of it reads none from its store and writes none.

        Raises:
            ModelNotFoundError, FetchError, SnapshotError, LockTimeoutError: No files to load from.
            MissingExtraError: Its backend's packages are not installed.
            ModelLoadError: It could not be built.
        """
        handle = self._handles.get(spec)  # type: ignore[arg-type]  # a string is simply not in it
        if handle is not None and defaults.refuse is None:
            model = handle.model
            if model is not None:
                next(handle.hits)
                handle.lent = True
                return model
        return self._get_slowly(spec)

    def handle(self, spec: ModelSpec | str, *, asked_as: str | None = None) -> ModelHandle:
        """The handle of `spec`, loaded or not; `asked_as` is the name that its log lines use."""
        spec = ModelSpec(spec) if isinstance(spec, str) else spec
        name = asked_as or spec.name
        return self._handles.get(spec) or self._handle(self.resolve(spec), asked_as=name)

    def loaded(self, spec: ModelSpec) -> ModelHandle | None:
        """The handle of `spec` if its model is loaded; resolves nothing, loads nothing."""
        handle = self._handles.get(spec)
        return handle if handle is not None and handle.model is not None else None

    def identify(self, spec: ModelSpec) -> Identity:
        """Say which model `spec` means, without loading it.

        Its files are fetched if they are not here and were not when it was last identified.
        Raises as `get` does, but for `ModelLoadError`.
        """
        backend = self._backend(spec)
        try:
            return backend.identify(spec, self.artifacts)
        except (ModelNotFoundError, SnapshotError):
            # Not here, or not whole: preparing mends it, or says why it cannot be mended.
            return backend.identify(self.resolve(spec), self.artifacts)

    def metadata(self, spec: ModelSpec | str) -> ModelMetadata:
        """What its configuration says, or said when it was last identified. Raises as that does."""
        spec = ModelSpec(spec) if isinstance(spec, str) else spec
        try:
            return describe(self._backend(spec), spec, self.artifacts)
        except (ModelNotFoundError, SnapshotError):
            return self.identify(spec).metadata

    def missing(self, spec: ModelSpec) -> errors.MissingExtraError | None:
        """What a load needs that is not installed, as far as the backend can tell."""
        backend = self._backend(spec)
        return backend.missing() if isinstance(backend, Probing) else None

    def resolve(self, spec: ModelSpec | str) -> ModelSpec:
        """Return the spec under which the model is kept; its files are here afterwards."""
        spec = ModelSpec(spec) if isinstance(spec, str) else spec
        return spec if spec.is_resolved else self._backend(spec).prepare(spec, self.artifacts)

    def stats(self) -> RegistryStats:
        """Counts of every model that was asked for."""
        with self._lock:
            return RegistryStats(
                tuple(
                    ModelStats(
                        name=spec.name,
                        device=spec.device or "",
                        backend=spec.backend,
                        gets=counts.gets_so_far,
                        loads=counts.loads,
                        failures=counts.failures,
                        evictions=counts.evictions,
                        load_seconds=counts.load_seconds,
                        import_seconds=counts.import_seconds,
                        unloads=counts.unloads,
                    )
                    for spec, counts in self._counts.items()
                )
            )

    def counts(self, spec: ModelSpec) -> Counts | None:
        """Those of one resolved spec; None where it was never asked for."""
        return self._counts.get(spec)

    def evict(self, spec: ModelSpec | str) -> bool:
        """Forget a model, so that the next call loads it again; True if it was loaded.

        What `spec` leaves open (revision, device, dtype) fits any: a name alone, as a string,
        forgets every model of that name. Whoever still holds a model keeps it. Nothing is fetched.
        """
        from pytest_embedcache.models.naming import fitting

        fits = fitting(spec)
        with self._lock:
            found = {handle for spelling, handle in self._handles.items() if fits(spelling)}
            forgotten = [self._forget(handle) for handle in found]
        return any(forgotten)

    def clear(self) -> None:
        """Forget all models; the counts stay."""
        with self._lock:
            for handle in set(self._handles.values()):
                self._forget(handle)

    def evict_backend(self, backend: str) -> None:
        """Forget all models of one backend."""
        with self._lock:
            for handle in {h for h in self._handles.values() if h.spec.backend == backend}:
                self._forget(handle)

    def reset(self) -> None:
        """Forget all models and counts."""
        with self._lock:
            self.clear()
            self._counts.clear()

    def _get_slowly(self, spec: ModelSpec | str) -> Any:
        if not isinstance(spec, ModelSpec):
            return self.get(ModelSpec(spec))
        lasting = means_the_same_later(spec)  # asked first: the directory may change meanwhile
        # A spelling that is known means what it meant, though the model was unloaded since and a
        # branch has moved.
        handle = self._handles.get(spec) or self._handle(self.resolve(spec), asked_as=spec.name)
        model = handle.get(timeout=None)
        next(handle.hits)
        handle.lent = True
        if lasting:
            with self._lock:
                if self._handles.get(handle.spec) is handle:  # not evicted meanwhile
                    self._handles[spec] = handle
        return model

    def _handle(self, resolved: ModelSpec, *, asked_as: str) -> ModelHandle:
        with self._lock:
            handle = self._handles.get(resolved)
            if handle is None:
                handle = self._handles[resolved] = self.make_handle(
                    resolved,
                    self._backend(resolved),
                    artifacts=self.artifacts,
                    idle=(self.idle_timeout, self._unloader),
                    asked_as=asked_as,
                    after_import=self.after_import,
                    counts=self._counts.setdefault(resolved, Counts()),
                )
            return handle

    def _forget(self, handle: ModelHandle) -> bool:
        with self._lock:
            spellings = [spec for spec, other in self._handles.items() if other is handle]
            for spec in spellings:
                del self._handles[spec]
            self.evictions += bool(spellings)
            evicted = bool(spellings) and handle.is_loaded
            handle.counts.evictions += evicted
            return evicted

    def _backend(self, spec: ModelSpec) -> Backend:
        table = self.backends or defaults.backends or BACKENDS
        try:
            return table[spec.backend]
        except KeyError:
            known = ", ".join(sorted(table))
            raise ModelSpecError("backend", spec.backend, f"use one of {known}") from None

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        for handle in self._handles.values():
            handle.after_fork()


def means_the_same_later(spec: ModelSpec) -> bool:
    """False for a path that depends on the current directory or on HOME, which may change."""
    return os.path.isabs(spec.name) or not os.path.isdir(os.path.expanduser(spec.name))


_registries: weakref.WeakSet[ModelRegistry] = weakref.WeakSet()
_default: ModelRegistry | None = None
_default_lock = threading.Lock()


def default_registry() -> ModelRegistry:
    """The process's registry, made on the first call."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = (defaults.registry_factory or ModelRegistry)()
    return _default


def swap_default_registry(registry: ModelRegistry | None) -> ModelRegistry | None:
    """Put `registry` in the place of the default one and return what was there (for tests)."""
    global _default
    with _default_lock:
        previous, _default = _default, registry
    defaults.preloaded.clear()  # into the other one
    defaults.environment = None
    return previous


def all_registries() -> list[ModelRegistry]:
    """Every registry of this process that somebody still has."""
    return list(_registries)


def _after_fork_in_child() -> None:
    global _default_lock
    _default_lock = threading.Lock()
    for registry in all_registries():
        registry._after_fork()
    torch = sys.modules.get("torch")
    if turn.taken and torch is not None:
        # OpenMP's threads do not survive a fork: a child that encodes would wait for them forever.
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
