"""The vector index of a build, kept in step with the entries, which are the truth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache import notices
from pytest_embedcache.errors import IndexDamagedError
from pytest_embedcache.search.forked import renew_lock
from pytest_embedcache.search.index import VectorIndex

if TYPE_CHECKING:
    from pytest_embedcache.search.semantic.entries import Changes, EntryFile

__all__ = ["FollowedVectors"]

#: From so many changes on the vector index is written anew, which is quicker than changing it.
_ANEW = 10_000


class FollowedVectors:
    """The vector index in the directory `path`, which holds the vectors of `entries`.

    The entries note up to which change it follows, and its state then, in the transaction in which
    it is brought there. In another state it is not theirs: it, or they, were put back from a
    copy, or somebody was killed in between. It is made anew, as is one that is damaged or missing.
    """

    def __init__(self, path: Path, entries: EntryFile, vector_backend: str | None) -> None:
        self.path = path
        self._entries = entries
        self._backend = vector_backend
        self._lock = threading.RLock()
        self._index: VectorIndex | None = None
        renew_lock(self)

    def current(self) -> VectorIndex | None:
        """The index, with every change that was made before; None where no entry has a vector.

        Raises:
            SemanticIndexError: Another process writes, and does not come to an end.
        """
        with self._lock:
            try:
                return self._current()
            except IndexDamagedError as error:
                if error.path == str(self._entries.path):
                    raise
                return self.made_anew(error)

    def made_anew(self, error: IndexDamagedError) -> VectorIndex | None:
        """The index, made again from the entries, for one that turned out to be damaged."""
        with self._lock:
            self.close()
            if not self._entries.path.exists():  # all of the build is being removed
                raise error
            self._say_anew(str(error))
            self._follow(anew=True)
            return self._index

    def close(self) -> None:
        """Let go of the index."""
        with self._lock:
            index, self._index = self._index, None
            if index is not None:
                index.close()

    def _current(self) -> VectorIndex | None:
        if self._index is None:
            self._index = self._opened()
        sequence, applied, state = self._entries.followed()
        if self._index is None or applied != sequence or self._index.state != state:
            self._follow()
        return self._index

    def _opened(self) -> VectorIndex | None:
        try:
            return VectorIndex.open(self.path, vector_backend=self._backend)
        except FileNotFoundError:
            return None

    def _say_anew(self, reason: str) -> None:
        notices.degraded(f"{reason} It is made anew from the entries, which hold every vector")

    def _follow(self, *, anew: bool = False) -> None:
        """Bring the index to where the entries are."""
        with self._entries.writing() as writing:  # one process at a time, and none that writes
            _, applied, state = self._entries.followed()
            if self._index is None and not anew:
                self._index = self._opened()  # another process may have made it
            if self._index is not None and self._index.state != state:
                self.close()
                self._say_anew(f"the vector index {self.path} is not the one of its entries.")
            since = 0 if self._index is None else applied
            changes = self._entries.changes(since)
            if self._index is None:
                self._index = self._made(writing.about("dimension"))
            if self._index is not None:
                if changes.last - changes.upto > _ANEW or not len(self._index):
                    first = self._entries.changes(0) if since else changes
                    self._index.rebuild(self._batches(first, writing))
                else:
                    self._apply(changes, writing)
                writing.note("state", self._index.state)
            writing.note("applied", changes.last)

    def _made(self, dimension: int | None) -> VectorIndex | None:
        """An empty index, in the place of whatever there is."""
        if dimension is None:
            return None
        return VectorIndex.open(
            self.path,
            dimension=dimension,
            metric="cosine",
            vector_backend=self._backend,
            anew=True,
        )

    def _apply(self, changes: Changes, writing: Any) -> None:
        assert self._index is not None
        while True:
            gone = [*changes.removed, *changes.lacking]
            if gone:
                self._index.remove(gone)
            if changes.vectors:
                self._index.put(list(changes.vectors), list(changes.vectors.values()))
            self._note_lost(changes, writing)
            if changes.upto == changes.last:
                return
            changes = self._entries.changes(changes.upto)

    def _batches(self, changes: Changes, writing: Any) -> Iterator[tuple[Any, Any]]:
        while True:
            if changes.vectors:
                yield list(changes.vectors), list(changes.vectors.values())
            self._note_lost(changes, writing)
            if changes.upto == changes.last:
                return
            changes = self._entries.changes(changes.upto)

    def _note_lost(self, changes: Changes, writing: Any) -> None:
        lost = set(changes.lacking) - set(self._entries.lacking()) if changes.lacking else set()
        if lost:
            writing.lose_vectors(sorted(lost))
            notices.degraded(
                f"{len(lost)} vectors in {self._entries.path} were damaged and are left out; "
                "fill(), or `embedcache index rebuild`, computes them again"
            )
