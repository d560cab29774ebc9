"""Replacing a class under every name that a loaded module has bound to it.

`from sentence_transformers import SentenceTransformer` at the top of a module is a second binding,
which patching `sentence_transformers.SentenceTransformer` does not reach.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pytest_embedcache.errors import UnresolvedBindingError

__all__ = ["Guard", "caller", "replace_everywhere"]

#: Reads the namespace itself: a lazy module's own `__dict__` may import what nobody asked for.
_NAMESPACE: Any = vars(ModuleType)["__dict__"]


class Guard:
    """Constructing `real` is an error that names the module, unless it is meant.

    For what a scan of globals cannot reach: a subclass, a default argument, an attribute of a
    class, a name in a function.
    """

    def __init__(self, real: type) -> None:
        self.real = real
        self._meant = threading.local()

    def build(self, *args: Any, **options: Any) -> Any:
        """Construct the real class all the same."""
        self._meant.now = True
        try:
            return self.real(*args, **options)
        finally:
            self._meant.now = False

    @contextmanager
    def up(self) -> Iterator[None]:
        """Guard inside."""
        real = self.real
        original = real.__init__  # type: ignore[misc]
        inherited = "__init__" not in vars(real)

        def refuse(instance: Any, *args: Any, **options: Any) -> None:
            if getattr(self._meant, "now", False):
                original(instance, *args, **options)
                return
            kind = type(instance)
            if kind is not real:
                raise UnresolvedBindingError(
                    kind.__module__, f"its class {kind.__name__} derives from the real one"
                )
            raise UnresolvedBindingError(
                caller(), "it kept the real class in something other than a global"
            )

        real.__init__ = refuse  # type: ignore[misc]
        try:
            yield
        finally:
            if inherited:
                del real.__init__  # type: ignore[misc]
            else:
                real.__init__ = original  # type: ignore[misc]


@contextmanager
def replace_everywhere(real: type, fake: type) -> Iterator[None]:
    """Let every module's globals that are `real` be `fake`, and put them back afterwards.

    Modules that are imported meanwhile, and so bound `fake`, get `real` at the end.
    """
    try:
        _rebind(real, fake)
        yield
    finally:
        _rebind(fake, real)


def _rebind(old: type, new: type) -> None:
    modules: list[object] = list(sys.modules.values())
    for module in modules:
        if isinstance(module, ModuleType):
            namespace = _NAMESPACE.__get__(module)
        else:  # anything can be put into sys.modules
            namespace = getattr(module, "__dict__", None)
        # Compared as numbers, at the speed of C: values may have an == of their own.
        if isinstance(namespace, dict) and id(old) in map(id, list(namespace.values())):
            for key, value in list(namespace.items()):
                if value is old:
                    namespace[key] = new


def caller() -> str:
    """The name of the module that called this package."""
    frame = sys._getframe(1)
    while True:
        name = str(frame.f_globals.get("__name__", "?"))
        if frame.f_back is None or not name.startswith(f"{__package__}."):
            return name
        frame = frame.f_back
