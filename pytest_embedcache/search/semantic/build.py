"""One build of a semantic index: its entries, and the vector index that follows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache import notices
from pytest_embedcache.errors import EntryError, IndexDamagedError, SemanticIndexError
from pytest_embedcache.search.opened import size
from pytest_embedcache.search.semantic.entries import EntryFile
from pytest_embedcache.search.semantic.entries_writing import Writing
from pytest_embedcache.search.semantic.followed import FollowedVectors
from pytest_embedcache.search.semantic.results import IndexFigures, Result, Results, fused

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.search.hits import Hit
    from pytest_embedcache.search.index import VectorIndex
    from pytest_embedcache.search.semantic.asking import QueryModel
    from pytest_embedcache.search.semantic.builds import Stamp

__all__ = ["Build", "encoded", "note_model"]

#: Of each ranking, so many go into the fusion, or five times as many as are wanted.
_DEPTH = 50
#: Times that a search begins anew because entries changed under it.
_ATTEMPTS = 3

Ranking = list[tuple[int, float]]


class Build:
    """The build in `directory`, opened.

    Attributes:
        stamp: That of its directory's pointer when it was the current one.
    """

    def __init__(
        self, directory: Path, stamp: Stamp | None, vector_backend: str | None, *, new: bool = False
    ) -> None:
        self.directory = directory
        self.stamp = stamp
        path = directory / "entries.sqlite3"
        self.entries = EntryFile.create(path) if new else EntryFile(path)
        self.vectors = FollowedVectors(directory / "vectors", self.entries, vector_backend)

    def close(self) -> None:
        """Close its files."""
        self.vectors.close()
        self.entries.close()

    def figures(self, path: Path) -> IndexFigures:
        """What is in it; `path` is the index's directory."""
        entries, index = self.entries, self.vectors.current()
        return IndexFigures(
            path=str(path),
            entries=entries.count(),
            lacking=len(entries.lacking()),
            model=entries.about("model"),
            dimension=entries.about("dimension"),
            bytes=size(path),
            vectors=None if index is None else index.stats().as_dict(),
        )

    # ------------------------------------------------------------------------------ rankings

    def by_vector(self, vector: np.ndarray, k: int, allowed: Sequence[int] | None) -> Ranking:
        """Numbers of the nearest entries with their cosine."""
        if k <= 0:
            return []
        return self._asked(lambda index: index.search(vector, k, filter=allowed)) or []

    def like(self, number: int, k: int, allowed: Sequence[int] | None) -> Ranking | None:
        """Those nearest to an entry, without it; None where it has no vector."""

        def ask(index: VectorIndex) -> list[Hit] | None:
            if number not in index:
                return None
            return index.find_similar(number, k, filter=allowed) if k > 0 else []

        return self._asked(ask)

    def _asked(self, ask: Callable[[VectorIndex], list[Hit] | None]) -> Ranking | None:
        index = self.vectors.current()
        if index is None:
            return None
        try:
            hits = ask(index)
        except IndexDamagedError as error:  # it is read as it is needed
            index = self.vectors.made_anew(error)
            hits = None if index is None else ask(index)
        return None if hits is None else [(hit.id, 1.0 - hit.distance) for hit in hits]

    def ranked(
        self,
        query: str,
        vector: np.ndarray | None,
        k: int,
        wanted: Mapping[str, Any] | None,
        by: str,
    ) -> list[Result]:
        """What is found for a query: by `vectors`, `keywords` or `both`."""
        for attempt in range(_ATTEMPTS):
            before = self.entries.about("sequence")
            allowed = self.allowed(wanted)
            rankings = []
            depth = max(_DEPTH, 5 * k) if by == "both" and k > 0 else k
            if vector is not None and by != "keywords":
                rankings.append(self.by_vector(vector, depth, allowed))
            if by != "vectors":
                rankings.append(self.entries.with_words(query, depth, allowed))
            ranking = rankings[0]
            if by == "both":
                ranking = fused([[number for number, _ in ranked] for ranked in rankings], k)
            found = self.results(ranking, upto=before if attempt + 1 < _ATTEMPTS else None)
            if found is not None:
                return found
        raise AssertionError("the last attempt takes what there is")

    def allowed(self, wanted: Mapping[str, Any] | None) -> list[int] | None:
        """Numbers of the entries that a filter lets pass; None for all."""
        if not wanted:
            return None
        for name, value in wanted.items():
            if not isinstance(value, str | int | float | None) or value != value:
                raise ValueError(
                    f"filter {name!r}: {value!r} cannot be looked for. Give strings, numbers, "
                    "booleans or None."
                )
        return self.entries.matching(wanted)

    def results(self, ranking: Ranking, *, upto: int | None = None) -> list[Result] | None:
        """The entries of a ranking; None if one has changed, or gone, since the change `upto`."""
        rows = self.entries.rows([number for number, _ in ranking])
        if upto is not None and (
            len(rows) < len(ranking) or any(row.changed > upto for row in rows.values())
        ):
            return None
        return [
            Result(row.id, row.text, row.metadata, score)
            for number, score in ranking
            if (row := rows.get(number)) is not None
        ]

    # ------------------------------------------------------------------------------ the model

    def other_model(self, model: QueryModel) -> str | None:
        """The notice where the entries' vectors are not that model's; None where they are."""
        made_by = self.entries.about("identity")
        if made_by is None or model.model is None or model.identity() == made_by:
            return None
        return (
            f"the index was made by the model {self.entries.about('model')}, and {model.name} is "
            "another, or was changed: only keywords were searched. Make the index anew: "
            "rebuild(), or `embedcache index rebuild`"
        )

    def lacking_notice(self) -> str | None:
        """The notice where entries have no vector."""
        if not self.entries.lacking(1):
            return None
        return (
            f"entries without a vector: {len(self.entries.lacking())}; only keywords find them. "
            "fill(), or `embedcache index rebuild`, computes what they lack"
        )

    def keyword_results(
        self, query: str, k: int, wanted: Mapping[str, Any] | None, notice: str | None
    ) -> Results:
        """What has the query's words, with a notice."""
        return Results(tuple(self.ranked(query, None, k, wanted, "keywords")), "keywords", notice)

    def vector_results(
        self, query: str, vector: np.ndarray, k: int, wanted: Mapping[str, Any] | None, by: str
    ) -> Results:
        """What is nearest to a query's vector, by `vectors` or by `both`."""
        found = self.ranked(query, vector, k, wanted, by)
        return Results(tuple(found), by, self.lacking_notice())

    def similar_results(self, id: str, k: int, wanted: Mapping[str, Any] | None) -> Results:
        """What is nearest to an entry; by its words where it has no vector."""
        row = self.entries.by_id([id]).get(id)
        if row is None:
            raise EntryError(id, "is not in the index", "Add it with add().")
        ranking = self.like(row.number, k, self.allowed(wanted))
        if ranking is not None:
            return Results(tuple(self.results(ranking) or ()), "vectors", self.lacking_notice())
        found = self.keyword_results(row.text, k + 1, wanted, "it has no vector: by its words")
        return Results(tuple(r for r in found if r.id != id)[:k], found.by, found.notice)


def note_model(writing: Writing, path: Path, model: QueryModel, vector: np.ndarray) -> None:
    """Note whose vectors the index holds, or see that they are the same model's.

    Raises:
        SemanticIndexError: It holds another model's.
    """
    identity, known = model.identity(), writing.about("identity")
    if identity is None or (known is not None and known != identity):
        reason = (
            f"the model {model.name} was handed out to be changed, and is not known any more"
            if identity is None
            else f"its vectors are those of {writing.about('model')}, and {model.name} is another "
            "model, or was changed"
        )
        raise SemanticIndexError(
            str(path), reason, "Use the model as its files are, or make the index anew: rebuild()."
        )
    if known is None:
        writing.note("identity", identity)
        writing.note("model", str(model.name))
        writing.note("dimension", len(vector))


def encoded(model: QueryModel, texts: Sequence[str]) -> list[np.ndarray | None]:
    """The vectors of entries with these texts; None for each, and a notice, without a model."""
    vectors = model.documents(texts)
    if vectors is not None:
        return [*vectors]
    notices.degraded(
        f"there is no model ({model.why_none}): entries are found by keyword only, until fill() or "
        "`embedcache index rebuild` computes their vectors"
    )
    return [None] * len(texts)
