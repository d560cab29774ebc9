"""How a model fares, and what a registry counts, as its users read it."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["OF_THE_CALLER", "Counts", "ModelStats", "RegistryStats", "Status"]

#: The item of a backend's state that is the calling thread's: absent while that has set nothing,
#: and no part of what a model was like when it was loaded.
OF_THE_CALLER = "autocast"


class Status(enum.StrEnum):
    """Where a model is in its life; a failed load can be tried again."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class Counts:
    """What happened to one model in this process; outlives its eviction.

    `gets` counts calls that returned the model: `next()` on it is atomic and needs no lock.
    """

    def __init__(self) -> None:
        self.gets: Iterator[int] = itertools.count()
        self.loads = 0
        self.failures = 0
        self.evictions = 0
        self.unloads = 0
        #: Seconds of all loads, from the libraries imported to the model built.
        self.load_seconds = 0.0
        #: Seconds of importing the libraries, where this process had not imported them.
        self.import_seconds = 0.0

    @property
    def gets_so_far(self) -> int:
        """The number of gets; reading it does not count."""
        return int(repr(self.gets)[len("count(") : -1])


class ModelStats(NamedTuple):
    """Counts of one model in one process; seconds are of the wall clock."""

    name: str
    device: str
    backend: str
    gets: int
    loads: int
    failures: int
    evictions: int
    load_seconds: float
    import_seconds: float
    unloads: int = 0


class RegistryStats(NamedTuple):
    """Counts of a registry since it was made or reset."""

    models: tuple[ModelStats, ...]

    @property
    def gets(self) -> int:
        """How often a model was asked for and returned."""
        return sum(model.gets for model in self.models)

    @property
    def loads(self) -> int:
        """How often a model was really loaded."""
        return sum(model.loads for model in self.models)

    def as_dict(self) -> dict[str, Any]:
        """The same in built-in types."""
        return {"models": tuple(model._asdict() for model in self.models)}
