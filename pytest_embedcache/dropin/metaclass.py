"""The class of the stand-in's class: a subclass of the stand-in derives from the real one."""

from __future__ import annotations

import types
from typing import Any

from pytest_embedcache.dropin.probes import is_probe

__all__ = ["StandInType"]


class StandInType(type):
    """Instance and subclass checks accept the real class's too; what the class lacks is its.

    A class of this kind has `_library`, which knows the real class.
    """

    _library: Any

    def __new__(
        meta, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        if not any("_library" in vars(base) for base in bases):
            return super().__new__(meta, name, bases, namespace, **options)
        real = tuple(
            vars(base)["_library"].real() if "_library" in vars(base) else base for base in bases
        )
        return types.new_class(name, real, options, lambda made: made.update(namespace))

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        real = cls._library.real_class if "_library" in vars(cls) else None
        return real is not None and isinstance(instance, real)

    def __subclasscheck__(cls, other: type) -> bool:
        if type.__subclasscheck__(cls, other):
            return True
        real = cls._library.real_class if "_library" in vars(cls) else None
        return real is not None and real in getattr(other, "__mro__", ())

    def __getattr__(cls, name: str) -> Any:
        if is_probe(name) or "_library" not in vars(cls):
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        return getattr(cls._library.real(), name)
