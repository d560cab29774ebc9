"""Doing something to a module as soon as it has been imported, by whomever; importing nothing."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["AfterImport"]


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls each of `acts` (name of a module -> function) with its module, once."""

    def __init__(self, acts: Mapping[str, Callable[[Any], None]]) -> None:
        self._acts = dict(acts)

    def install(self) -> None:
        """Act on what is imported already, and from now on on what is imported."""
        sys.meta_path.insert(0, self)
        for name in tuple(self._acts):
            if (module := sys.modules.get(name)) is not None and not _is_running(module):
                self._acts.pop(name)(module)

    def remove(self) -> None:
        """Do nothing any more."""
        self._acts.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._acts:
            return None
        others = (finder for finder in tuple(sys.meta_path) if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        loader: Any = spec.loader if spec is not None else None
        if loader is None:
            return None
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            act = self._acts.pop(name, None)
            if act is not None:
                act(module)

        # On this loader alone, which is this module's: a loader of another class would lack what
        # resources and tracebacks ask it for.
        loader.exec_module = exec_module
        return spec


def _is_running(module: ModuleType) -> bool:
    """Whether its import is under way."""
    return bool(getattr(module.__spec__, "_initializing", False))
