"""What a registry counts, as its users read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["ModelStats", "RegistryStats"]


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
