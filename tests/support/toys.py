"""A backend whose models are plain objects, so that a registry can be tested without torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pytest_embedcache import ModelSpec
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.identity import Identity

#: Seconds after which a deadlock is a failure; nothing waits for it otherwise.
DEADLOCK = 120


class Toy:
    """A model. Compares by identity, can be weakly referenced, and is in no cycle."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec


class ToyBackend:
    """Every name is a model; a directory is known by its real path.

    Attributes:
        prepared: Names that were asked for, in order.
        loads: Short names of what was loaded, in order; a failed load is in it.
        on_load: Called in each load, with the resolved spec; what it raises, the load raises.
    """

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.loads: list[str] = []
        self.on_load: Callable[[ModelSpec], object] = lambda spec: None
        self.imported = False

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        self.prepared.append(spec.name)
        path = os.path.expanduser(spec.name)
        if os.path.isdir(path):
            name = path = os.path.realpath(path)
        else:
            name = spec.name if "/" in spec.name else f"sentence-transformers/{spec.name}"
            path = f"toy:{name}@{spec.revision or 'main'}"
        return spec.replace(
            name=name,
            path=path,
            device=spec.device or "cpu",
            dtype=spec.dtype or "float32",
            revision=None,
            cache_folder=None,
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        return Identity(spec.name, "0" * 64, "float32")

    def signature(self, spec: ModelSpec) -> str | None:
        return "unchanging"

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        return ()

    def import_libraries(self) -> bool:
        fresh, self.imported = not self.imported, True
        return fresh

    def load(self, spec: ModelSpec) -> Toy:
        self.loads.append(spec.name.removeprefix("sentence-transformers/"))
        self.on_load(spec)
        return Toy(spec)


class Gate:
    """A place in a load: the test learns that somebody is there, and says when to go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, *args: object) -> None:
        self.reached.set()
        assert self.open.wait(DEADLOCK), "nobody opened the gate"


def start(work: Callable[[], Any]) -> Future[Any]:
    """Run `work` in a thread of its own; its result, or its error of whatever kind."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def boarded(handle: ModelHandle, count: int) -> threading.Event:
    """Set as soon as `count` threads have asked `handle` for a flight: to fly, or to wait for."""
    everybody, lock, seen = threading.Event(), threading.Lock(), [0]
    board = handle._board

    def counting(mine: Any) -> Any:
        flight = board(mine)
        with lock:
            seen[0] += 1
            if seen[0] == count:
                everybody.set()
        return flight

    handle._board = counting  # type: ignore[method-assign]
    return everybody
