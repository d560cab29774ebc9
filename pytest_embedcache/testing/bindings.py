"""Replacing a class under every name that a loaded module has bound to it.

`from sentence_transformers import SentenceTransformer` at the top of a module is a second binding,
which patching `sentence_transformers.SentenceTransformer` does not reach.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pytest_embedcache.errors import UnresolvedBindingError

__all__ = ["replace_everywhere"]


@contextmanager
def replace_everywhere(real: type, fake: type) -> Iterator[None]:
    """Let every module's globals that are `real` be `fake`, and put them back afterwards.

    Modules that are imported meanwhile, and so bound `fake`, get `real` at the end. What a scan of
    globals cannot reach (a subclass, a default argument, an attribute of a class) fails when it
    constructs `real`, with an error that names the module.

    Raises:
        UnresolvedBindingError: A module does not let its global be replaced.
    """
    _rebind(real, fake)
    try:
        with _guarded(real):
            yield
    finally:
        _rebind(fake, real)


def _rebind(old: type, new: type) -> None:
    for name, module in list(sys.modules.items()):
        # The dict itself: a lazy module's __getattr__ would import what nobody asked for.
        namespace = getattr(module, "__dict__", None)
        if not isinstance(namespace, dict):
            continue
        for key, value in list(namespace.items()):
            if value is old:
                _set(name, module, key, new)


def _set(name: str, module: ModuleType, key: str, value: type) -> None:
    try:
        setattr(module, key, value)
    except (AttributeError, TypeError) as error:
        raise UnresolvedBindingError(
            name, f"its attribute {key!r} cannot be set ({error})"
        ) from error


@contextmanager
def _guarded(real: type) -> Iterator[None]:
    """While a fake stands in, constructing the real class is an error that says from where."""
    original = real.__init__  # type: ignore[misc]
    inherited = "__init__" not in vars(real)

    def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        kind = type(self)
        if kind is not real:
            raise UnresolvedBindingError(
                kind.__module__, f"its class {kind.__name__} derives from the real one"
            )
        caller = sys._getframe(1).f_globals.get("__name__", "?")
        raise UnresolvedBindingError(
            str(caller), "it kept the real class in something other than a global"
        )

    real.__init__ = refuse  # type: ignore[misc]
    try:
        yield
    finally:
        if inherited:
            del real.__init__  # type: ignore[misc]
        else:
            real.__init__ = original  # type: ignore[misc]
