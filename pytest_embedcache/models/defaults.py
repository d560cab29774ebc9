"""How the process's default registry and store are made: what a host of the package may set.

Apart from both, so that setting it imports nothing: the pytest plugin does so in every run of
everybody who has it installed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pytest_embedcache.models.backends import Backend
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.models.watching import Watch
    from pytest_embedcache.spec import ModelSpec

__all__ = ["set_factories"]

registry_factory: Callable[[], ModelRegistry] | None = None
#: Returns a `vectors.cache.VectorCache`, which this floor does not know.
cache_factory: Callable[[], Any] | None = None
#: Called with the spec of each model that is asked for, where models are forbidden; may raise.
refuse: Callable[[ModelSpec], None] | None = None
#: Told of loads and of what is computed; None where nobody wants to know.
watch: Watch | None = None
#: In place of the package's own table of backends, as long as a test has fakes.
backends: Mapping[str, Backend] | None = None
#: The strategy of calls that name none, and of names that were not preloaded; None asks the
#: environment.
strategy: str | None = None
#: What the environment said when it was asked, for the default registry that there is: to look
#: again would cost more than the rest of a hit.
environment: str | None = None
#: Name -> strategy, of the models that were preloaded: later calls mean the same model.
preloaded: dict[str, str] = {}


def set_factories(
    registry: Callable[[], ModelRegistry] | None, cache: Callable[[], Any] | None
) -> tuple[Callable[[], ModelRegistry] | None, Callable[[], Any] | None]:
    """Let these build the defaults when they are first used; returns what was set before."""
    global registry_factory, cache_factory
    previous = registry_factory, cache_factory
    registry_factory, cache_factory = registry, cache
    return previous
