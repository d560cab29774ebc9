"""How the process's default registry is made: the one place that a host of the package may set.

Apart from the registry itself, so that setting it imports nothing: the pytest plugin does so in
every run of everybody who has it installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry

__all__ = ["set_factory"]

factory: Callable[[], ModelRegistry] | None = None


def set_factory(
    make: Callable[[], ModelRegistry] | None,
) -> Callable[[], ModelRegistry] | None:
    """Let `make` build the default registry when it is first used; return what was set before."""
    global factory
    previous, factory = factory, make
    return previous
