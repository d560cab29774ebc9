"""Names that libraries import and seldom use, had without the import behind them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from pytest_embedcache.dropin.lazy import LazyPackage
from pytest_embedcache.dropin.metaclass import StandInType
from pytest_embedcache.dropin.switch import Switch

__all__ = ["TRANSFORMERS", "DeferredNames", "deferred_class", "deferred_function"]

#: Module -> names of it, and of modules below it, that wait for their use. KeyBERT, BERTopic and
#: others import them at the top of a module that most of their users never enter.
TRANSFORMERS: dict[str, dict[str, tuple[str, ...]]] = {
    "transformers.pipelines": {
        "transformers.pipelines": ("pipeline", "Pipeline"),
        "transformers.pipelines.base": ("Pipeline",),
    },
    "transformers.trainer_utils": {"transformers.trainer_utils": ("set_seed",)},
}


class _Real:
    """The real class of a name, as a `StandInType` asks for it."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    @property
    def real_class(self) -> Any:
        """The class, None where nobody has imported it: then nothing is an instance of it."""
        found = vars(sys.modules.get(self._module) or self).get(self._name)
        return None if isinstance(found, StandInType) else found

    def real(self) -> Any:
        """The class, imported."""
        return _imported(self._module, self._name)


def _imported(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    if isinstance(package := vars(found).get("__embedcache_package__"), LazyPackage):
        package.become_real(found)
    return getattr(found, name)


def deferred_class(module: str, name: str) -> Any:
    """Stands for a class: to construct or to derive from it imports it; `isinstance` does not."""
    real = _Real(module, name)
    members = {
        "__module__": module,
        "__qualname__": name,
        "_library": real,
        "__new__": lambda cls, *args, **kwargs: real.real()(*args, **kwargs),
    }
    return StandInType(name, (), members)


def deferred_function(module: str, name: str) -> Any:
    """Stands for a function: to call it imports it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return _imported(module, name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__module__ = module
    return call


def deferred(module: str, name: str) -> Any:
    """Stands for a name: a class, where it is spelt like one."""
    return (deferred_class if name[:1].isupper() else deferred_function)(module, name)


class DeferredNames:
    """Defers names of `TRANSFORMERS`; a stand-in of its own, behind a switch of its own."""

    def __init__(self) -> None:
        self._packages: list[LazyPackage] = []

    def install(self, switch: Switch) -> None:
        """Defer them, in modules that nobody has imported."""
        for package, modules in TRANSFORMERS.items():
            if package not in sys.modules:
                published = {
                    module: {name: deferred(module, name) for name in names}
                    for module, names in modules.items()
                }
                lazy = LazyPackage(package, published, _nothing_else)
                lazy.install()
                self._packages.append(lazy)

    def remove(self) -> None:
        """Defer nothing any more."""
        while self._packages:
            self._packages.pop().remove()


def _nothing_else(package: ModuleType) -> None:
    """All is as it should be."""
