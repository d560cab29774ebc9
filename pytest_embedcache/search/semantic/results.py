"""What a semantic index answers, and how two rankings become one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

__all__ = ["IndexFigures", "Result", "Results", "fused"]

#: The constant of reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009.
_RRF = 60


class Result(NamedTuple):
    """An entry that was found.

    Attributes:
        id, text, metadata: As they were put in.
        score: More is better. By vectors the cosine, by keywords SQLite's BM25 with its sign
            turned, by both the sum of 1 / (60 + rank); scores of one kind can be compared.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]
    score: float


@dataclass(frozen=True, slots=True)
class Results(Sequence[Result]):
    """What was found, the best first.

    Attributes:
        by: `vectors`, `keywords`, or `both`.
        notice: What the caller should be told: that the model is being loaded, that there is none,
            that entries have no vector yet. None where there is nothing to say.
        final: False where better ones come, when the model is there.
    """

    found: tuple[Result, ...]
    by: str
    notice: str | None = None
    final: bool = True

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Result, ...]: ...
    def __getitem__(self, index: int | slice) -> Result | tuple[Result, ...]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.found)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain builtins."""
        found = [
            {"id": r.id, "score": r.score, "text": r.text, "metadata": dict(r.metadata)}
            for r in self.found
        ]
        return {"by": self.by, "notice": self.notice, "results": found}


class IndexFigures(NamedTuple):
    """What a semantic index holds.

    Attributes:
        path: Its directory.
        entries: How many there are.
        lacking: Those of them without a vector, which only keywords find.
        model, dimension: Whose vectors they are; None while there are none.
        bytes: On the disk, all files.
        vectors: `IndexStats` of the vector index, as plain builtins; None while there are none.
    """

    path: str
    entries: int
    lacking: int
    model: str | None
    dimension: int | None
    bytes: int
    vectors: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain builtins."""
        return self._asdict()


def fused(rankings: Sequence[Sequence[int]], k: int) -> list[tuple[int, float]]:
    """The `k` best of several rankings of numbers, by reciprocal rank fusion, with their scores.

    Each ranking gives 1 / (60 + rank) to what it has, ranks from 1; ties go to the smaller number.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            scores[number] = scores.get(number, 0.0) + 1 / (_RRF + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
