"""For each check of `ModelRegistryContract` a registry on which it fails, and no other check."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.models.backends import Backend
from pytest_embedcache.models.stats import RegistryStats
from pytest_embedcache.testing.fake_backend import FakeBackend
from pytest_embedcache.testing.fakes import FakeEmbeddingModels

BROKEN: dict[str, Callable[[], OfFakes]] = {}


class OfFakes(ModelRegistry):
    """Keeps every promise; its models are fakes, which `fakes` watches."""

    def __init__(self) -> None:
        self.fakes = FakeEmbeddingModels(kind="hash", dimensions={"all-mpnet-base-v2": 8})
        backend: Backend = FakeBackend(self.fakes, self.fakes)
        super().__init__(backends={"torch": backend, "fake": backend})


def on(check: str) -> Callable[[type[OfFakes]], type[OfFakes]]:
    def add(cls: type[OfFakes]) -> type[OfFakes]:
        BROKEN[check] = cls
        return cls

    return add


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@on("test_a_spec_is_one_object")
class CopiesTheSecondTime(OfFakes):
    last: Any = None

    def get(self, spec: ModelSpec | str) -> Any:
        model = super().get(spec)
        again = self.last is spec and in_main_thread()
        self.last = spec
        return copy.copy(model) if again else model

    def evict(self, spec: ModelSpec | str) -> bool:
        self.last = None
        return super().evict(spec)


@on("test_equal_specs_are_one_object")
class ComparesObjects(OfFakes):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def get(self, spec: ModelSpec | str) -> Any:
        model = super().get(spec)
        known = any(other is spec for other in self.seen)
        equal = spec in self.seen
        self.seen.append(spec)
        return copy.copy(model) if equal and not known else model


@on("test_a_resolved_spec_is_the_same_model")
class TakesAResolvedOneForAnother(OfFakes):
    def get(self, spec: ModelSpec | str) -> Any:
        model = super().get(spec)
        return copy.copy(model) if isinstance(spec, ModelSpec) and spec.is_resolved else model


@on("test_two_models_are_two_objects")
class ForgetsTheName(OfFakes):
    def __init__(self) -> None:
        super().__init__()
        self.first: Any = None

    def get(self, spec: ModelSpec | str) -> Any:
        model = super().get(spec)
        self.first = self.first or model
        return self.first

    def evict(self, spec: ModelSpec | str) -> bool:
        if len(self._handles) < 4:  # one model, under two spellings
            self.first = None
        return super().evict(spec)

    def clear(self) -> None:
        self.first = None
        super().clear()


@on("test_a_model_is_loaded_once")
class LoadsNowAndThen(OfFakes):
    gets = 0

    def get(self, spec: ModelSpec | str) -> Any:
        model = super().get(spec)
        self.gets += in_main_thread()
        if self.gets == 5:
            self.fakes.on_load("again")
        return model


@on("test_nothing_is_loaded_before_it_is_asked_for")
class LoadsWhenItResolves(OfFakes):
    inside = False

    def resolve(self, spec: ModelSpec | str) -> ModelSpec:
        resolved = super().resolve(spec)
        if not self.inside and in_main_thread():
            self.get(resolved)
        return resolved

    def get(self, spec: ModelSpec | str) -> Any:
        if not in_main_thread():
            return super().get(spec)
        self.inside = True
        try:
            return super().get(spec)
        finally:
            self.inside = False


@on("test_threads_cause_one_load")
class LoadsOnceAThread(OfFakes):
    def get(self, spec: ModelSpec | str) -> Any:
        return super().get(spec) if in_main_thread() else self.fakes()


@on("test_an_error_of_a_load_is_the_callers")
class HidesTheError(OfFakes):
    def get(self, spec: ModelSpec | str) -> Any:
        try:
            return super().get(spec)
        except OSError:
            raise RuntimeError("something went wrong") from None


@on("test_a_failed_load_is_not_kept")
class KeepsTheFailure(OfFakes):
    error: OSError | None = None

    def get(self, spec: ModelSpec | str) -> Any:
        if self.error is not None:
            raise self.error
        try:
            return super().get(spec)
        except OSError as error:
            self.error = error
            raise


@on("test_an_unknown_backend_is_refused_by_name")
class TakesAnotherBackend(OfFakes):
    def get(self, spec: ModelSpec | str) -> Any:
        if isinstance(spec, ModelSpec) and spec.backend.startswith("no-such"):
            spec = spec.replace(backend="torch")
        return super().get(spec)


@on("test_an_evicted_model_is_loaded_anew")
class OnlySaysThatItEvicts(OfFakes):
    def evict(self, spec: ModelSpec | str) -> bool:
        return self.loaded(self.resolve(spec)) is not None


@on("test_evicting_what_is_not_there_is_no_error")
class CannotEvictNothing(OfFakes):
    def evict(self, spec: ModelSpec | str) -> bool:
        if not self._handles:
            raise KeyError(spec)
        return super().evict(spec)


@on("test_evicting_one_leaves_the_others")
class EvictsEverything(OfFakes):
    def evict(self, spec: ModelSpec | str) -> bool:
        evicted = super().evict(spec)
        self.clear()
        return evicted


@on("test_clearing_forgets_all")
class ClearsTheFirst(OfFakes):
    def clear(self) -> None:
        with self._lock:
            self._forget(next(iter(self._handles.values())))


@on("test_nobody_keeps_a_forgotten_model")
class KeepsForgottenModels(OfFakes):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[Any] = []

    def get(self, spec: ModelSpec | str) -> Any:
        self.all.append(super().get(spec))
        return self.all[-1]


@on("test_stats_count_gets_and_loads")
class CountsTheFirstGet(OfFakes):
    def stats(self) -> RegistryStats:
        found = super().stats()
        return RegistryStats(tuple(model._replace(gets=1) for model in found.models))


@on("test_stats_are_plain_values")
class HasAPathInItsStats(OfFakes):
    def stats(self) -> Any:
        found = super().stats()

        class Stats:
            def as_dict(self) -> dict[str, Any]:
                return {**found.as_dict(), "where": Path("x")}

        return Stats()
