"""`VectorIndex`: vectors by id on disk, and the nearest to a given one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from pytest_embedcache.errors import IndexEntryError, LockTimeoutError, UnknownIdError
from pytest_embedcache.search import forked, making, opened, structures, writing
from pytest_embedcache.search.choice import choose, requested
from pytest_embedcache.search.finding import Filter, find_nearest
from pytest_embedcache.search.hits import Hit, IndexStats
from pytest_embedcache.search.manifest import Manifest, directory_of
from pytest_embedcache.search.vectors import Entries, count_from, entries_from, ids_from, query_from
from pytest_embedcache.search.view import View

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["VectorIndex"]

_NOTHING = np.empty(0, np.int64)


class VectorIndex:
    """Vectors by id, in a directory; opened or made by `open`.

    Ids are whole numbers from -2**63 to 2**63 - 1, chosen by the caller. Vectors are float32 and
    kept as given; both metrics take them in any length, zero too. Every call that changes something
    is whole when it returns, and a process that is killed in it leaves the state before or after.
    Any number of processes and threads may search while one changes the index; a second one that
    wants to waits for it. A search sees what was committed when it began.
    """

    def __init__(self, directory: Path, asked: str, now: opened.Opened) -> None:
        """Made by `open`."""
        self._directory = directory
        self._asked = asked
        self._now: opened.Opened | None = now
        self._lock = threading.RLock()
        self._swept = False
        forked.renew_lock(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        dimension: int | None = None,
        metric: str | None = None,
        vector_backend: str | None = None,
        anew: bool = False,
    ) -> Self:
        """Open the index in the directory `path`; with a `dimension`, make it if there is none.

        Args:
            path: A directory of the index's own.
            dimension: Of the vectors. Of an index that is there it must be the same.
            metric: `cosine`, where nobody says, or `dot`.
            vector_backend: `exact`, `sqlite-vec`, `approximate`, or `auto`: by size and memory.
                None is `EMBEDCACHE_VECTOR_BACKEND`, else `auto`. One that cannot be had is
                replaced by `exact`, which is logged once and in `stats().reason`.
            anew: Begin with nothing, whatever is there, also where it is damaged.

        Raises:
            FileNotFoundError: There is no index, and no `dimension` was given.
            IndexDamagedError: A file of it is not what was written.
            IndexMismatchError: It has another dimension or metric.
            SettingsError: There is no such backend.
        """
        asked = requested(vector_backend)
        directory = directory_of(path)
        now = making.open_or_make(directory, asked, dimension, metric, anew)
        index = cls(directory, asked, now)
        index._catch_up()
        return index

    def __len__(self) -> int:
        """Vectors that can be found."""
        return len(self._fresh().view.ids)

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, int | np.integer) or isinstance(id, bool):
            return False
        return -(2**63) <= int(id) < 2**63 and bool(self._fresh().view.find(ids_from([id]))[0] >= 0)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids().tolist())

    def ids(self) -> np.ndarray:
        """All ids, ascending: int64, shape (n,)."""
        return self._fresh().view.ids.copy()

    def get(self, ids: ArrayLike) -> np.ndarray:
        """The vectors of `ids` as they were given: float32, shape (n, dimension).

        Raises `UnknownIdError` for an id that is not here.
        """
        view = self._fresh().view
        return np.ascontiguousarray(view.matrix[self._known(view, ids_from(ids))])

    # ------------------------------------------------------------------------------- searching

    def search(self, vector: ArrayLike, k: int = 10, *, filter: Filter | None = None) -> list[Hit]:
        """The `k` nearest entries, or all where there are fewer: by distance, then by id.

        With the backend `approximate` some of them may be others, a little farther; their distances
        are right. A filter of ids is always searched exactly.

        Raises `IndexEntryError` for a vector of another dimension, or not finite.
        """
        now = self._fresh()
        query, norm = query_from(vector, now.view.manifest.dimension)
        return find_nearest(now.view, now.backend, query, norm, count_from(k), filter)

    def find_similar(self, id: int, k: int = 10, *, filter: Filter | None = None) -> list[Hit]:
        """The `k` entries nearest to that of `id`, without itself.

        Raises `UnknownIdError` where there is none.
        """
        now = self._fresh()
        (row,) = self._known(now.view, ids_from([id]))
        query, norm = now.view.matrix[row], float(now.view.norms[row])
        found = find_nearest(now.view, now.backend, query, norm, count_from(k) + 1, filter)
        return [hit for hit in found if hit.id != id][:k]

    # ------------------------------------------------------------------------------- changing

    def add(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Add vectors, shape (n, dimension), under new ids; all of them or none.

        Raises:
            IndexEntryError: An id is here already, or twice among `ids`; or a vector is not one.
            LockTimeoutError: Another process changes the index, and does not come to an end.
        """
        with self._writing() as view:
            entries = entries_from(ids, vectors, view.manifest.dimension)
            here = entries.ids[view.find(entries.ids) >= 0]
            if len(here):
                raise IndexEntryError(int(here[0]), "it is here already", "Use update() or put().")
            self._commit(view, entries)

    def update(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Give ids other vectors; all of them or none. Raises as `add`, and `UnknownIdError`."""
        with self._writing() as view:
            entries = entries_from(ids, vectors, view.manifest.dimension)
            self._known(view, entries.ids)
            self._commit(view, entries)

    def put(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Add or update, whichever it is for an id, unless it has this vector; raises as `add`."""
        with self._writing() as view:
            entries = entries_from(ids, vectors, view.manifest.dimension)
            self._commit(view, entries.without(view.has(entries.ids, entries.vectors)))

    def remove(self, ids: ArrayLike) -> int:
        """Remove ids; returns how many of them were here."""
        with self._writing() as view:
            asked = np.unique(ids_from(ids))
            here = asked[view.find(asked) >= 0]
            self._commit(view, Entries.none(view.manifest.dimension), here)
            return len(here)

    def rebuild(self, batches: Iterable[tuple[ArrayLike, ArrayLike]] | None = None) -> None:
        """Write the index anew, without what was removed, and make its backend's structure.

        With `batches` of ids and vectors it holds these, and nothing of before. Until all is
        written the old index answers, and stays if anything fails; others may not change it
        meanwhile.
        """
        with self._writing() as view:
            if batches is None:
                found = writing.entries_of(view)
            else:
                dimension = view.manifest.dimension
                found = (entries_from(ids, vectors, dimension) for ids, vectors in batches)
            manifest = making.write_whole(self._directory, view.manifest, found, self._asked)
            self._reload()
            writing.sweep(self._directory, manifest)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a copy to another directory, which holds it whole or what it held before."""
        target = directory_of(path)
        if target == self._directory:
            return self.rebuild()
        making.copy(self._fresh().view, target, self._asked)
        return None

    @property
    def state(self) -> str:
        """A name of what is in it: another one after each change, and in each copy."""
        return self._fresh().view.manifest.state

    def stats(self) -> IndexStats:
        """What is in it, and what answers."""
        view, backend, choice, _ = self._fresh()
        manifest = view.manifest
        details, reason = {}, choice.reason
        if backend is not None:
            covered = min(backend.covered, manifest.rows)
            details = {"covered": covered, "most_at_once": backend.limit}
            if covered < manifest.rows:
                reason += f"; {manifest.rows - covered:,} rows are scanned until rebuild()"
        return IndexStats(
            entries=len(view.ids),
            dimension=manifest.dimension,
            metric=manifest.metric,
            backend=choice.backend,
            reason=reason,
            bytes=opened.size(self._directory),
            removed=len(view.dead),
            commit=manifest.commit,
            details=details,
        )

    def close(self) -> None:
        """Let go of files; closing again does nothing, and another use opens them again."""
        with self._lock:
            now, self._now = self._now, None
            opened.close(now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------- inside

    def _fresh(self) -> opened.Opened:
        now = self._now
        if now is not None and opened.is_current(self._directory, now):
            return now
        with self._lock:
            now = self._now
            if now is not None and opened.is_current(self._directory, now):
                return now  # another thread was quicker
            return self._reload()

    def _reload(self) -> opened.Opened:
        before = self._now
        now = self._now = opened.load(self._directory, self._asked, before)
        if before is not None and before.backend is not now.backend:
            opened.close(before)
        return now

    @contextmanager
    def _writing(self, timeout: float | None = None) -> Iterator[View]:
        """Nobody else changes it; the view is the last commit. `timeout` as in `making.locked`."""
        with self._lock, making.locked(self._directory, timeout):
            view = self._fresh().view
            if Manifest.read(self._directory) != view.manifest:  # stamps may repeat
                view = self._reload().view
            if not self._swept:
                writing.sweep(self._directory, view.manifest)
                self._swept = True
            yield view

    def _commit(self, view: View, entries: Entries, removed: np.ndarray = _NOTHING) -> None:
        if not len(entries.ids) and not len(removed):
            return
        writing.append(self._directory, view.manifest, entries, removed).write(self._directory)
        self._reload()
        self._extend()

    def _extend(self) -> None:
        """Bring the structure up to date, where that is a writer's part. The lock is held."""
        now = self._now
        assert now is not None
        choice = choose(self._asked, len(now.view.ids), now.view.manifest.dimension)
        if structures.is_made_by(choice, now.backend, now.view):
            backend, choice = structures.make(choice, self._directory, now.view)
            if backend is not now.backend:
                opened.close(now)
            self._now = now._replace(backend=backend, choice=choice)

    def _catch_up(self) -> None:
        """After opening: make the structure, if it is one that is quickly made."""
        now = self._fresh()
        choice = choose(self._asked, len(now.view.ids), now.view.manifest.dimension)
        if structures.is_made_by(choice, now.backend, now.view):
            try:
                with self._writing(timeout=0.0):
                    self._extend()
            except OSError as error:  # it can only be read, or somebody writes, who does it
                if not isinstance(error, LockTimeoutError):
                    structures.say_behind(self._directory, error)

    def _known(self, view: View, ids: np.ndarray) -> np.ndarray:
        rows = view.find(ids)
        if (rows < 0).any():
            raise UnknownIdError(int(ids[rows < 0][0]), str(self._directory.parent))
        return rows
