"""Modules that become the real ones when something of theirs is first used.

The object in `sys.modules` stays the same: what was bound early is what is there later.
"""

from __future__ import annotations

import importlib
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_embedcache.dropin.probes import is_probe
from pytest_embedcache.errors import MissingExtraError
from pytest_embedcache.installed import installed_version
from pytest_embedcache.models.backends.torch import BECOME_REAL

__all__ = ["LazyModule", "LazyPackage"]

#: In the namespace of a module that is not the real one yet: its package.
_PACKAGE = "__embedcache_package__"
_ABSENT: Any = object()


class LazyModule(ModuleType):
    """Has nothing, and so asks its package for everything."""

    def __getattr__(self, name: str) -> Any:
        package = vars(self).get(_PACKAGE)
        if package is None:  # it became real while this thread was on its way here
            return ModuleType.__getattribute__(self, name)
        return package.attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # The import of `package.Class` would bind that module where the package has the class.
        if not (isinstance(value, LazyModule) and name[:1].isupper()):
            super().__setattr__(name, value)


class _LazyLoader:
    """Makes a lazy module, and is the real loader for whoever asks it for anything else."""

    def __init__(self, package: LazyPackage, real: Any) -> None:
        self._package = package
        self.real = real

    def create_module(self, spec: ModuleSpec) -> LazyModule:
        module = LazyModule(spec.name)
        vars(module)[_PACKAGE] = self._package
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._package.made(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _AliasLoader:
    """Gives a module that has another name by now."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class LazyPackage:
    """A package whose modules wait for their first use. A finder for `sys.meta_path`.

    Args:
        name: Of the package.
        published: Module name -> what such a module has without becoming real, by attribute.
        stays: Whether what the package itself has published is there also when it is real.
        distribution: Name of what is installed, for the version.
        became_real: Called with the package's module once it is real, under the lock.
        without: Whether the package is to be there also where it is not installed, with nothing but
            what is published.

    States: lazy, loading (one thread imports the real package, which must see real things only),
    real. A thread that needs something meanwhile waits.
    """

    def __init__(
        self,
        name: str,
        published: Mapping[str, Mapping[str, Any]],
        became_real: Callable[[ModuleType], None],
        *,
        stays: bool = False,
        distribution: str | None = None,
        without: bool = False,
    ) -> None:
        self.name = name
        self.distribution = distribution
        self.is_real = False
        self._published = published
        self._became_real = became_real
        self._stays = stays
        self._without = without
        self._removed = False
        self._lock = threading.RLock()
        #: The thread that imports the real package now.
        self._loading: int | None = None
        self._made: list[ModuleType] = []

    def install(self) -> None:
        """Be asked first for modules of the package."""
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Be asked no more. What is still lazy goes, and forwards to the real one if it is kept."""
        self._removed = True
        sys.meta_path.remove(self)
        for module in self._made:
            if _PACKAGE in vars(module):
                for name in [n for n, found in sys.modules.items() if found is module]:
                    del sys.modules[name]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """A lazy spec in the real one's place; nothing once the package is real, or is missing."""
        if name != self.name and not name.startswith(f"{self.name}."):
            return None
        # Without the lock: who imports holds locks that the loading thread may wait for. A module
        # that another thread asks for while the package is loaded is lazy, too.
        if self.is_real or self._loading == threading.get_ident():
            return None
        real = self._real_spec(name, path, target)
        if real is None:
            return self._virtual() if name == self.name else self._alias(name)
        spec = ModuleSpec(
            name,
            _LazyLoader(self, real.loader),  # type: ignore[arg-type]
            origin=real.origin,
            loader_state=real.loader_state,
            is_package=real.submodule_search_locations is not None,
        )
        spec.submodule_search_locations = real.submodule_search_locations
        spec.cached, spec.has_location = real.cached, real.has_location
        return spec

    def _real_spec(self, name: str, path: Any, target: Any) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None and (spec := find(name, path, target)):
                found: ModuleSpec = spec
                return found
        return None

    def _virtual(self) -> ModuleSpec | None:
        if not self._without:
            return None
        return ModuleSpec(self.name, _LazyLoader(self, None), is_package=True)  # type: ignore[arg-type]

    def _alias(self, name: str) -> ModuleSpec | None:
        """That of a path without a file, which the package keeps for old code."""
        top = sys.modules.get(self.name)
        for folder in getattr(top, "__path__", ()):
            table = Path(folder, "util", "deprecated_import.py")
            if table.is_file():
                said = re.search(rf'"{re.escape(name)}":\s*"([\w.]+)"', table.read_text("utf-8"))
                if said:
                    module = importlib.import_module(said[1])
                    return ModuleSpec(name, _AliasLoader(module))  # type: ignore[arg-type]
        return None

    def made(self, module: ModuleType) -> None:
        """A lazy module is in `sys.modules`: give it what it can have without being real."""
        self._made.append(module)
        if self._loading is None:
            vars(module).update(self._published.get(module.__name__, {}))
        if module.__name__ == self.name:
            vars(module)[BECOME_REAL] = lambda: self.become_real(module)

    def attribute(self, module: ModuleType, name: str) -> Any:
        """What a lazy module has under that name, for which it becomes real if it must."""
        if is_probe(name) and name != "__all__":
            wanted = self.distribution if name == "__version__" else None
            if wanted and module.__name__ == self.name and (version := installed_version(wanted)):
                return version
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        if self._removed:
            return getattr(importlib.import_module(module.__name__), name)
        waiting = not self.is_real and self._loading is None
        if waiting and module.__name__ == self.name and name.islower():
            try:
                return importlib.import_module(f"{self.name}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{self.name}.{name}":
                    raise
        self.become_real(module)
        return ModuleType.__getattribute__(module, name)

    def become_real(self, module: ModuleType) -> None:
        """Let a module be the real one; the package's own first. Waits for whoever does it now."""
        with self._lock:
            if not self.is_real and self._loading is None:
                self._load()
            if _PACKAGE in vars(module):
                self._execute(module)

    def _load(self) -> None:
        top = importlib.import_module(self.name)
        self._loading = threading.get_ident()
        kept = {
            m: {n: vars(m).pop(n) for n in self._names(m) if n in vars(m)} for m in list(self._made)
        }
        try:
            self._execute(top)
        except BaseException:
            for module, values in kept.items():
                vars(module).update(values)
            raise
        else:
            self.is_real = True
            self._became_real(top)
            ours = self._published.get(self.name, {})
            for name, value in kept.get(top, {}).items():
                # What is not ours is a test's, which will take it away itself.
                if self._stays or value is not ours[name]:
                    vars(top)[name] = value
        finally:
            self._loading = None

    def _names(self, module: ModuleType) -> list[str]:
        return list(self._published.get(module.__name__, ()))

    def _execute(self, module: ModuleType) -> None:
        """Run the real module's code in `module`; as it was before if that fails."""
        loader: Any = module.__loader__
        if loader.real is None:
            raise MissingExtraError(
                f"more of {module.__name__} than what is recorded",
                self.name,
                self.distribution or self.name,
            )
        spec, before = module.__spec__, dict(vars(module))
        assert spec is not None
        vars(module).pop(BECOME_REAL, None)
        vars(module).pop(_PACKAGE)
        module.__loader__ = spec.loader = loader.real
        try:
            # While it runs, other threads wait for what is not there yet; this one does not.
            vars(module)[_PACKAGE] = _Running(self)
            loader.real.exec_module(module)
        except BaseException:
            spec.loader = loader
            vars(module).clear()
            vars(module).update(before)
            raise
        del vars(module)[_PACKAGE]
        if type(module) is LazyModule:
            module.__class__ = ModuleType  # type: ignore[assignment]


class _Running:
    """In the place of the package while a module's code runs."""

    def __init__(self, package: LazyPackage) -> None:
        self._package = package

    def attribute(self, module: ModuleType, name: str) -> Any:
        # The thread that runs it has the lock, and gets an AttributeError, as in any import.
        with self._package._lock:
            return ModuleType.__getattribute__(module, name)
