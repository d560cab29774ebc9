"""The registries of a run in one process: of real models, of fakes, of tests that ask for own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from pytest_embedcache.plugin.table import Mode

if TYPE_CHECKING:
    from pytest_embedcache.models.backends import Backend
    from pytest_embedcache.models.handle import ModelHandle
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.plugin.run import Run

__all__ = ["Registries"]


class Registries:
    """Made when somebody asks; all of them have the run's ways, and are counted."""

    def __init__(self, run: Run) -> None:
        self._run = run
        #: A test's threads may be the first to ask for a model, several at once.
        self._lock = threading.RLock()
        self._all: list[ModelRegistry] = []
        #: By whether it is of fakes.
        self._shared: dict[bool, ModelRegistry] = {}
        self._adopted: tuple[ModelRegistry, Any, Any] | None = None
        self._retired: list[dict[str, Any]] = []

    def adopt(self) -> None:
        """Make the process's default one the run's, if there is one already.

        A conftest, or a module that it imports, may have made it before plugins are configured.
        """
        module = sys.modules.get("pytest_embedcache.models.registry")
        if module is None or module._default is None:
            return
        fake = self._run.settings.mode == Mode.FAKE
        process = self._run.process
        found = self._shared[fake] = module._default
        self._adopted = found, found.after_import, found.backends
        self._all.append(found)
        found.after_import = process.after_import
        process.before_models()
        if found.backends is None and not fake:
            found.make_handle = self._handle
        found.backends = self.fakes() if fake else self._table(found.backends)
        if fake:
            found.clear()  # what a conftest has loaded is real
        if found.stats().loads:
            process.after_import(False)

    def leave(self) -> None:
        """Put back what was changed in the process's default one, or take the run's out of it."""
        if self._adopted is not None:
            found, hook, backends = self._adopted
            found.after_import, found.backends = hook, backends
            vars(found).pop("make_handle", None)
            return
        module = sys.modules.get("pytest_embedcache.models.registry")
        if module is not None and module._default in self._shared.values():
            module.swap_default_registry(None)

    def clear(self) -> None:
        """Let them go: pytest keeps its config, and so the run, for ever."""
        self._shared.clear()
        self._all.clear()

    def shared(self, mode: Mode) -> ModelRegistry:
        """That of fixtures in this mode: one of real models, and one of fakes."""
        fake = mode is Mode.FAKE
        with self._lock:
            if fake not in self._shared:
                # By name, since a test's fakes stand in for a table that is left open: what a
                # session fixture keeps is real, whichever test asks for it first.
                table = self.fakes() if fake else self._table(None)
                made = self._shared[fake] = self._made(self._run.root, table)
                if not fake:
                    made.make_handle = self._handle
            return self._shared[fake]

    def make(self) -> ModelRegistry:
        """One whose counts are in the summary; of fakes, while there are any."""
        return self._made(None if self._run.fakes else self._run.root, None)

    def retire(self, registry: ModelRegistry) -> None:
        """Keep a registry's counts, and let it and its models go."""
        registry.clear()
        self._all.remove(registry)
        self._retired += registry.stats().as_dict()["models"]

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The counts of every model of all of them."""
        stats = (registry.stats().as_dict()["models"] for registry in self._all)
        return chain(self._retired, *stats)

    def fakes(self) -> Mapping[str, Backend]:
        """A table in which every backend makes fakes."""
        from pytest_embedcache.plugin.fakes import fake_backends

        return fake_backends(self._run)

    def _made(self, cache_dir: str | None, backends: Mapping[str, Backend] | None) -> ModelRegistry:
        from pytest_embedcache.models.registry import ModelRegistry

        process = self._run.process
        process.before_models()
        registry = ModelRegistry(
            cache_dir=cache_dir,
            backends=backends,
            after_import=process.after_import,
            idle_timeout=self._run.settings.model_timeout,
        )
        self._all.append(registry)
        return registry

    def _table(self, backends: Mapping[str, Backend] | None) -> Mapping[str, Backend]:
        """`backends`, or the package's own; in a distributed run all workers mean one model."""
        from pytest_embedcache.models.backends import BACKENDS

        table = BACKENDS if backends is None else backends
        if self._run.name is None:
            return table
        from pytest_embedcache.plugin.pins import PinnedBackends, Pins

        return PinnedBackends(table, Pins(self._run.directory(), self._run.name))

    def _handle(self, *asked: Any, **given: Any) -> ModelHandle:
        """Of a model that a text is missing of; a host may have it."""
        from pytest_embedcache.plugin.host import handle_of

        return handle_of(self._run, *asked, **given)
