"""The backend of low memory: sqlite-vec reads the vectors from its file, chunk by chunk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from pytest_embedcache.search import loadable
from pytest_embedcache.search.forked import OneConnection, is_left_alone
from pytest_embedcache.search.lifting import lift
from pytest_embedcache.search.manifest import Manifest
from pytest_embedcache.search.ranking import margin
from pytest_embedcache.search.view import View

__all__ = ["SqliteVec"]

_T = TypeVar("_T")
#: Rows that are put in at a time.
_BATCH = 4096
#: Milliseconds that a writer waits for readers to come to an end.
_PATIENCE = 30_000
#: Pages that a connection keeps, as SQLite counts them: negative, in KiB.
_CACHE = -2048


class SqliteVec(OneConnection):
    """A table of sqlite-vec whose row numbers are those of the index."""

    name = "sqlite-vec"
    is_exact = True
    saves_memory = True
    #: sqlite-vec's own; what asks for more is answered by a scan of the rows.
    limit = 4096

    def __init__(self, path: Path, dimension: int) -> None:
        super().__init__(path)
        self.error = 2 * margin(dimension)
        self.covered = 0
        self._creates = False
        self._bound = 1.0

    @classmethod
    def path_of(cls, directory: Path, generation: str) -> Path:
        return directory / f"vec-{generation}.sqlite"

    @classmethod
    def open(cls, directory: Path, manifest: Manifest) -> Self:
        """The structure in a file; raises `OSError` where there is none that can be used."""
        path = cls.path_of(directory, manifest.generation)
        if not path.exists():
            raise FileNotFoundError(f"{path.name} is not there")
        found = cls(path, manifest.dimension)
        found.refresh()
        return found

    @classmethod
    def make(cls, path: Path, view: View) -> Self:
        """The structure with all rows of a view, made or brought up to date. A writer's part.

        Raises `OSError` where that does not work.
        """
        found = cls(path, view.manifest.dimension)
        found._creates = True
        found._run(lambda connection: found._extend(connection, view))
        view.give_back()
        return found

    def refresh(self) -> None:
        """Look how far it goes by now; raises `OSError`."""
        self.covered, self._bound = self._run(_state)

    def nearest(self, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        def ask(connection: Any) -> list[tuple[int, float]]:
            return list(
                connection.execute(
                    "SELECT rowid, distance FROM rows WHERE vector MATCH ? AND k = ?"
                    " ORDER BY distance",
                    (query.tobytes(), min(count, self.limit)),
                )
            )

        found = self._run(ask)
        rows = np.array([row for row, _ in found], np.int64)
        # Of two vectors of length 1: the square of the distance is 2 less twice the cosine.
        far = np.array([distance for _, distance in found])
        return rows, (1.0 - far * far / 2).astype(np.float32)

    def close(self) -> None:
        with self._lock:
            self._close()

    # ------------------------------------------------------------------------------- the file

    def _extend(self, connection: Any, view: View) -> None:
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            covered, bound = _state(connection)
            cosine = view.manifest.metric == "cosine"
            if not covered or (not cosine and view.longest > bound):
                connection.execute("DROP TABLE IF EXISTS rows")
                connection.execute(
                    "CREATE VIRTUAL TABLE rows USING"
                    f" vec0(vector float[{view.manifest.dimension + 1}])"
                )
                covered, bound = 0, 1.0 if cosine else view.longest
            connection.executemany(
                "INSERT INTO rows(rowid, vector) VALUES (?, ?)", _lifted(view, covered, bound)
            )
            covered = len(view.matrix)
            connection.execute("DELETE FROM state")
            connection.execute("INSERT INTO state VALUES (?, ?)", (covered, bound))
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(*loadable.errors()):
                connection.execute("ROLLBACK")
            raise
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(loadable.BUSY * 1000)}")
        self.covered, self._bound = covered, bound

    def _run(self, operation: Callable[[Any], _T]) -> _T:
        with self._lock:
            try:
                if self._connection is None:
                    if is_left_alone(self.path):
                        raise BlockingIOError(f"{self.path.name} was in use at the fork")
                    self._connection = loadable.connect(self.path, create=self._creates)
                    self._connection.execute(f"PRAGMA cache_size = {_CACHE}")
                    self._connection.execute(
                        "CREATE TABLE IF NOT EXISTS state(covered INTEGER, bound REAL)"
                    )
                return operation(self._connection)
            except (ImportError, *loadable.errors()) as error:  # type: ignore[misc]
                self._close()
                kind = BlockingIOError if loadable.is_busy(error) else OSError
                raise kind(f"{self.path.name}: {error}") from error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*loadable.errors()):
                connection.close()


def _state(connection: Any) -> tuple[int, float]:
    found = list(connection.execute("SELECT covered, bound FROM state"))
    return (int(found[0][0]), float(found[0][1])) if found else (0, 1.0)


def _lifted(view: View, covered: int, bound: float) -> Iterator[tuple[int, bytes]]:
    for first in range(covered, len(view.matrix), _BATCH):
        part = slice(first, first + _BATCH)
        vectors = lift(view.matrix[part], view.norms[part], view.manifest.metric, bound)
        for number, vector in enumerate(vectors):
            yield first + number, vector.tobytes()
