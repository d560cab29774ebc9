"""`SemanticIndex`: texts with what is known about them, found by meaning and by word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pytest_embedcache.errors import EntryError
from pytest_embedcache.search.semantic.asking import QueryModel
from pytest_embedcache.search.semantic.build import encoded, note_model
from pytest_embedcache.search.semantic.entries_writing import Writing
from pytest_embedcache.search.semantic.entry import Entry
from pytest_embedcache.search.semantic.finding import Finding, text_of
from pytest_embedcache.search.semantic.opened import Opened
from pytest_embedcache.search.semantic.results import IndexFigures

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.search.semantic.rebuilding import Progress
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["SemanticIndex"]

#: Texts that are encoded together, and stored when they are.
_CHUNK = 1024


class SemanticIndex(Finding):
    """Entries (an id, a text, metadata), found by meaning and by word; in a directory.

    Entries, vectors and words are in one SQLite file: each call that changes something is one
    transaction in it, whole or not there after a crash. A `VectorIndex` beside it follows at the
    next search. Threads and processes may search and change it at once; what one has changed, all
    find.

    Texts are encoded in the role of documents and queries in that of queries, through the model's
    store: what is there is not computed again. Without a model an index takes entries all the same,
    and is searched by keyword, and says so.

    Args:
        path: The index's own directory.
        model: What `get_model` returns; None for none.
        create: Make it where there is none.
        vector_backend: As in `VectorIndex.open`.
        why_none: Where there is no model: why, for the notice of a search.

    Raises:
        SemanticIndexError: There is no index, and none is to be made.
        IndexDamagedError: A file of it is damaged; the error says how to go on.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: CachedModel | None = None,
        *,
        create: bool = True,
        vector_backend: str | None = None,
        why_none: str | None = None,
    ) -> None:
        self.path = _absolute(path)
        self._model = QueryModel(model, why_none)
        self._opened = Opened(self.path, vector_backend)
        if create and self._opened.builds.stamp() is None:
            from pytest_embedcache.search.semantic.rebuilding import make_empty

            make_empty(self._opened.builds)
        self._opened.current()  # what is damaged is found now

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        entries: Iterable[Entry],
        model: CachedModel | None = None,
        *,
        vector_backend: str | None = None,
        why_none: str | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Let the index in `path` hold these entries and nothing else, and open it.

        One that is there answers until the new one is whole, and stays if anything fails. A damaged
        one is replaced. `progress` is told how many entries are done.

        Raises:
            EntryError: An id is there twice, or a value cannot be stored.
        """
        from pytest_embedcache.search.semantic.rebuilding import build_from

        opened = Opened(_absolute(path), vector_backend)
        build_from(opened, QueryModel(model, why_none), entries, progress)
        return cls(path, model, vector_backend=vector_backend, why_none=why_none)

    def use(self, model: CachedModel | None, *, why_none: str | None = None) -> None:
        """Search with this model from now on, as if it had been given at the start."""
        self._model = QueryModel(model, why_none)

    @property
    def model_name(self) -> str | None:
        """The name of the model whose vectors are in the index; None while there are none."""
        name: str | None = self._opened.answer(lambda build: build.entries.about("model"))
        return name

    # ------------------------------------------------------------------------------ changing

    def add(
        self,
        texts: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[str]:
        """Add entries, all or none, and return their ids: as given, else numbers that go up.

        Raises:
            EntryError: An id is there already, or a value cannot be stored.
            SemanticIndexError: The index holds the vectors of another model.
            EmbedCacheError: As the model's `encode`, unless it cannot be had at all.
        """
        listed = _checked(texts)
        given = None if ids is None else _checked(ids)
        known = [{} for _ in listed] if metadata is None else [dict(m) for m in metadata]
        if len(known) != len(listed) or (given is not None and len(given) != len(listed)):
            raise ValueError("give one id and one metadata for each text, or none at all")
        vectors = encoded(self._model, listed)
        with self._opened.writing() as (build, writing):
            if given is None:
                first = build.entries.last_number() + 1
                given = [str(first + place) for place in range(len(listed))]
                while build.entries.by_id(given):  # who gave ids of numbers has been there
                    first += len(listed)
                    given = [str(first + place) for place in range(len(listed))]
            self._note_model(writing, vectors)
            entries = [Entry(*of) for of in zip(given, listed, known, strict=True)]
            writing.add(entries, vectors)
        return given

    def update(
        self, id: str, *, text: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Give an entry another text, or other metadata; what is left out stays.

        Raises:
            EntryError: There is no such entry, or a value cannot be stored.
        """
        vectors = encoded(self._model, _checked([text])) if text is not None else []
        with self._opened.writing() as (build, writing):
            row = build.entries.by_id([id]).get(id)
            if row is None:
                raise EntryError(id, "is not in the index", "Add it with add().")
            known = row.metadata if metadata is None else dict(metadata)
            if text is None or text == row.text:
                writing.set_metadata(row.number, Entry(id, row.text, known))
                return
            self._note_model(writing, vectors)
            writing.replace(row.number, Entry(id, text, known), vectors[0])

    def delete(self, ids: Sequence[str], *, forget: bool = False) -> int:
        """Remove entries; returns how many there were. Ids that are not there are no error.

        With `forget` the vectors of their texts also go from the model's store, in every role,
        whoever else has the same texts.

        Raises:
            StoreError: The entries are removed, but a store could not be reached.
        """
        listed = _checked(ids)
        with self._opened.writing() as (build, writing):
            gone = build.entries.by_id(listed)
            removed = writing.remove(listed)
        if forget and gone and self._model.model is not None:
            self._model.model.invalidate([row.text for row in gone.values()])
        return removed

    def fill(self, *, progress: Progress | None = None) -> int:
        """Compute the vectors that entries lack; returns how many were stored.

        Some are lacking where entries were added while there was no model, or where a stored vector
        was damaged.
        """
        done = 0
        while rows := self._opened.answer(lambda build: build.entries.without_vector(_CHUNK)):
            vectors = encoded(self._model, [row.text for row in rows])
            if any(vector is None for vector in vectors):
                break
            with self._opened.writing() as (_, writing):
                self._note_model(writing, vectors)
                for row, vector in zip(rows, vectors, strict=True):
                    writing.put_vector(row.number, vector, text=row.text)
            done += len(rows)
            if progress is not None:
                progress(done)
        return done

    def rebuild(self, *, progress: Progress | None = None) -> int:
        """Make the index anew from its own texts, with the model that is given now; returns how
        many entries it has. The old index answers until the new one is whole, and what is changed
        in it meanwhile is in the new one.

        Raises:
            SemanticIndexError: Another process has put another build in its place meanwhile.
        """
        from pytest_embedcache.search.semantic.rebuilding import rebuild

        return rebuild(self._opened, self._model, progress)

    # ------------------------------------------------------------------------------ upkeep

    def __len__(self) -> int:
        return self._opened.answer(lambda build: build.entries.count())

    def stats(self) -> IndexFigures:
        """What is in the index, and whose vectors; loads no model."""
        return self._opened.answer(lambda build: build.figures(self.path))

    def close(self) -> None:
        """Let go of the files; the next use opens them again."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _note_model(self, writing: Writing, vectors: Sequence[np.ndarray | None]) -> None:
        if vectors and vectors[0] is not None:
            note_model(writing, self.path, self._model, vectors[0])


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


def _checked(values: Sequence[str]) -> list[str]:
    if isinstance(values, str):
        raise TypeError("give a list of strings, not one string")
    return [text_of(value) for value in values]
