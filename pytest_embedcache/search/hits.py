"""What a search returns, and what an index says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

__all__ = ["Hit", "IndexStats"]


class Hit(NamedTuple):
    """An entry that was found, and how far it is from what was asked for.

    Attributes:
        id: Of the entry.
        distance: Smaller is nearer. `cosine`: one less the cosine, from 0 to 2, and 1 where one of
            the two vectors is all zeros. `dot`: the negative inner product.
    """

    id: int
    distance: float


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What an index holds, and what answers its searches.

    Attributes:
        entries: Vectors that can be found.
        dimension: Numbers in each.
        metric: `cosine` or `dot`.
        backend: What answers: `exact`, `sqlite-vec` or `approximate`.
        reason: Why that one, in a sentence.
        bytes: On the disk, all files of the index.
        removed: Rows that removed and replaced vectors still take, until `rebuild`.
        commit: Counts the changes since the index was made: two equal ones are one state.
        details: What only this backend has to say, JSON types only.
    """

    entries: int
    dimension: int
    metric: str
    backend: str
    reason: str
    bytes: int = 0
    removed: int = 0
    commit: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain builtins."""
        return asdict(self)
