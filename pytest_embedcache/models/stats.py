"""How a model fares, and what a registry counts, as its users read it."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Counts", "ModelStats", "RegistryStats", "Status"]


class Status(enum.StrEnum):
    """Where a model is in its life; a failed load can be tried again."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass
class Counts:
    """What happened to one model in this process; outlives its eviction.

    `gets` counts calls that returned the model: `next()` on it is atomic and needs no lock.
    """

    gets: Iterator[int] = field(default_factory=itertools.count)
    loads: int = 0
    failures: int = 0
    evictions: int = 0
    unloads: int = 0
    #: Seconds of all loads, from the libraries imported to the model built.
    load_seconds: float = 0.0
    #: Seconds of importing the libraries, where this process had not imported them.
    import_seconds: float = 0.0

    @property
    def gets_so_far(self) -> int:
        """The number of gets; reading it does not count."""
        return int(repr(self.gets)[len("count(") : -1])


@dataclass(frozen=True)
class ModelStats:
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


@dataclass(frozen=True)
class RegistryStats:
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
        return asdict(self)
