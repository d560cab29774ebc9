"""Registries with one fault each: on each of them one test of the original fails, and only that.

`EMBEDCACHE_TEST_REGISTRY` names one for the fixture `registry_class`;
tests/integration/test_original_tests_can_fail.py does so.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from pytest_embedcache import ModelRegistry, ModelSpec

#: Parameters up to which `KeepsSmallModelsOnly` keeps a model.
SMALL = 1_000_000


class KeepsNothing(ModelRegistry):
    """Has models by weak reference only: one that nobody uses at the moment is gone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._gate = threading.RLock()
        self._models: weakref.WeakValueDictionary[ModelSpec, Any] = weakref.WeakValueDictionary()

    def get(self, spec: ModelSpec | str) -> Any:
        resolved = self.resolve(spec)
        with self._gate:
            model = self._models.get(resolved)
            if model is None:
                model = self._models[resolved] = super().get(resolved)
                self.evict(resolved)
            return model


class NoSecondCheck(ModelRegistry):
    """Looks before it takes the lock, and not again when it has it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._gate = threading.RLock()
        self._models: dict[ModelSpec | str, Any] = {}

    def get(self, spec: ModelSpec | str) -> Any:
        if spec not in self._models:
            resolved = self.resolve(spec)
            with self._gate:
                self.evict(resolved)
                self._models[spec] = super().get(resolved)
        return self._models[spec]


class KeyForgetsTheModel(ModelRegistry):
    """One model per device, whatever its name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._by_device: dict[str | None, ModelSpec] = {}

    def get(self, spec: ModelSpec | str) -> Any:
        resolved = self.resolve(spec)
        return super().get(self._by_device.setdefault(resolved.device, resolved))


class KeepsSmallModelsOnly(ModelRegistry):
    """Loads a model of real size again at every access; a fake has no parameters."""

    def get(self, spec: ModelSpec | str) -> Any:
        model = super().get(spec)
        parameters = getattr(model, "parameters", list)()
        if sum(parameter.numel() for parameter in parameters) > SMALL:
            self.evict(spec)
        return model
