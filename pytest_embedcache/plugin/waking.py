"""When a run begins to use this package: until then, little more than the fixtures is imported."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.models import defaults
from pytest_embedcache.plugin.imports import as_in_production
from pytest_embedcache.plugin.options import recorded_on_ci, something_set

if TYPE_CHECKING:
    from pytest_embedcache.plugin.run import Run

__all__ = [
    "BEGAN",
    "DESELECTED",
    "GATE_MARKER",
    "KEY",
    "RUN",
    "distributed",
    "stand_by",
    "surroundings",
    "tell_of_nothing",
    "wake",
]

#: There once the run uses us.
RUN: pytest.StashKey[Run] = pytest.StashKey()
#: Variables and `sys.path` at the start, before a test has changed anything: a host has these.
BEGAN: pytest.StashKey[tuple[dict[str, str], list[str]]] = pytest.StashKey()
#: Tests that were collected and deselected, which somebody may want to know later.
DESELECTED: pytest.StashKey[list[pytest.Item]] = pytest.StashKey()
#: What controller and worker say to each other, in `workerinput` and `workeroutput`.
KEY = "embedcache"
#: The marker of a speed-up gate, by which a run is known to use us.
GATE_MARKER = "embedcache_speedup"

#: A test's threads may be the first to ask for a model, several at once.
_LOCK = threading.RLock()


def stand_by(config: pytest.Config) -> None:
    """Begin now where something is set, or was used already; else when something of ours is."""
    config.stash[BEGAN] = surroundings()
    config.stash[DESELECTED] = []
    if _sent(config) if hasattr(config, "workerinput") else _set(config):
        wake(config)
        return
    before = defaults.set_factories(
        lambda: wake(config).shared_registry(), lambda: wake(config).default_cache()
    )

    def put_back() -> None:
        defaults.set_factories(*before)

    config.add_cleanup(put_back)


def surroundings() -> tuple[dict[str, str], list[str]]:
    """Variables and `sys.path`, as they are now."""
    return dict(os.environ), list(sys.path)


def wake(config: pytest.Config) -> Run:
    """The state of this run in this process, which begins with the first call.

    Raises `pytest.UsageError` for a setting that cannot be used.
    """
    with _LOCK:
        if RUN not in config.stash:
            with as_in_production():
                from pytest_embedcache.plugin.hooks import begin

                begin(config)
        return config.stash[RUN]


def _sent(config: Any) -> bool:
    """Whether the controller sends its worker something that was set, or nothing at all."""
    return KEY not in config.workerinput or bool(config.workerinput[KEY]["given"]) or _used()


def _set(config: pytest.Config) -> bool:
    return distributed(config) or something_set(config) or recorded_on_ci(config) or _used()


def distributed(config: pytest.Config) -> bool:
    """Whether this is a controller: it has to send its workers the settings."""
    # The option is xdist's; 'no' and its absence are a run in one process.
    return getattr(config.option, "dist", "no") != "no" or bool(getattr(config.option, "tx", None))


def _used() -> bool:
    """Whether a conftest, or a module that it imports, has made the registry or the store."""
    made = (
        sys.modules.get(name)
        for name in ("pytest_embedcache.models.registry", "pytest_embedcache.vectors.api")
    )
    return any(module is not None and module._default is not None for module in made)


def tell_of_nothing(config: pytest.Config) -> None:
    """Let the controller know that this worker has not crashed: it has just not used us."""
    if RUN not in config.stash and hasattr(config, "workeroutput"):
        config.workeroutput[KEY] = {}
