"""`VectorIndex`: vectors by id on disk, and the nearest to a given one."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, Self

from pytest_embedcache.search.hits import Hit, IndexStats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

__all__ = ["Filter", "Metric", "VectorIndex"]

Metric = Literal["cosine", "dot"]
#: The ids that may be found, or what says of one id whether it may.
Filter = Collection[int] | Callable[[int], bool]


class VectorIndex:
    """Vectors by id, in a directory; opened or made by `open`.

    Ids are whole numbers from -2**63 to 2**63 - 1, chosen by the caller. Vectors are float32 and
    kept as given; both metrics take them in any length, zero too. Every call that changes something
    is whole when it returns, and a process that is killed in it leaves the state before or after.
    Any number of processes and threads may search while one changes the index; a second one that
    wants to waits for it. A search sees what was committed when it began.
    """

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        dimension: int | None = None,
        metric: Metric | None = None,
        vector_backend: str | None = None,
    ) -> Self:
        """Open the index in the directory `path`; with a `dimension`, make it if there is none.

        Args:
            path: A directory of the index's own.
            dimension: Of the vectors. Of an index that is there it must be the same.
            metric: `cosine` where nobody says.
            vector_backend: `exact`, `sqlite-vec`, `approximate`, or `auto`: by size and memory.
                None is `EMBEDCACHE_VECTOR_BACKEND`, else `auto`. One that cannot be had is
                replaced by `exact`, which is logged once and in `stats().reason`.

        Raises:
            FileNotFoundError: There is no index, and no `dimension` was given.
            IndexDamagedError: A file of it is not what was written.
            IndexMismatchError: It has another dimension or metric.
            SettingsError: There is no such backend.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """Vectors that can be found."""
        raise NotImplementedError

    def __contains__(self, id: object) -> bool:
        raise NotImplementedError

    def ids(self) -> np.ndarray:
        """All ids, ascending: int64, shape (n,)."""
        raise NotImplementedError

    def get(self, ids: ArrayLike) -> np.ndarray:
        """The vectors of `ids` as they were given: float32, shape (n, dimension).

        Raises `UnknownIdError` for an id that is not here.
        """
        raise NotImplementedError

    def add(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Add vectors, shape (n, dimension), under new ids; all of them or none.

        Raises:
            IndexEntryError: An id is here already, or twice among `ids`; or a vector is not one.
            LockTimeoutError: Another process changes the index, and does not come to an end.
        """
        raise NotImplementedError

    def update(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Give ids other vectors; all of them or none. Raises as `add`, and `UnknownIdError`."""
        raise NotImplementedError

    def put(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Add or update, whichever it is for each id; all of them or none. Raises as `add`."""
        raise NotImplementedError

    def remove(self, ids: ArrayLike) -> int:
        """Remove ids; returns how many of them were here."""
        raise NotImplementedError

    def search(self, vector: ArrayLike, k: int = 10, *, filter: Filter | None = None) -> list[Hit]:
        """The `k` nearest entries, or all where there are fewer: by distance, then by id.

        With the backend `approximate` some of them may be others, a little farther; their distances
        are right.

        Raises `IndexEntryError` for a vector of another dimension, or not finite.
        """
        raise NotImplementedError

    def find_similar(self, id: int, k: int = 10, *, filter: Filter | None = None) -> list[Hit]:
        """The `k` entries nearest to that of `id`, without itself.

        Raises `UnknownIdError` where there is none.
        """
        raise NotImplementedError

    def rebuild(self, batches: Iterable[tuple[ArrayLike, ArrayLike]] | None = None) -> None:
        """Write the index anew, without what was removed, and make its backend's structure.

        With `batches` of ids and vectors it holds these, and nothing of before. Until all is
        written the old index answers, and stays if anything fails; others may not change it
        meanwhile.
        """
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a copy to another directory, which holds it whole or what it held before."""
        raise NotImplementedError

    def stats(self) -> IndexStats:
        """What is in it, and what answers."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of files; closing again does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids().tolist())
