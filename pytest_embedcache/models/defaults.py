"""How the process's default registry and store are made: what a host of the package may set.

Apart from both, so that setting it imports nothing: the pytest plugin does so in every run of
everybody who has it installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_embedcache.models.backends import Backend
    from pytest_embedcache.models.registry import ModelRegistry

__all__ = ["set_factories"]

registry_factory: Callable[[], ModelRegistry] | None = None
#: Returns a `vectors.cache.VectorCache`, which this floor does not know.
cache_factory: Callable[[], Any] | None = None
#: In place of the package's own table of backends, as long as a test has fakes.
backends: Mapping[str, Backend] | None = None

Factories = tuple[Callable[[], Any] | None, Callable[[], Any] | None]


def set_factories(
    registry: Callable[[], ModelRegistry] | None, cache: Callable[[], Any] | None
) -> Factories:
    """Let these build the defaults when they are first used; returns what was set before."""
    global registry_factory, cache_factory
    previous = registry_factory, cache_factory
    registry_factory, cache_factory = registry, cache
    return previous
