"""`SqliteStore`: the vectors of one machine, shared by its processes and runs."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pytest_embedcache.errors import StoredValueError, StoreError
from pytest_embedcache.files import cache_directory
from pytest_embedcache.vectors import sqlite_rows as rows
from pytest_embedcache.vectors import sqlite_upkeep as upkeep
from pytest_embedcache.vectors.codec import check_vectors, decode, pack, same
from pytest_embedcache.vectors.counts import Counts
from pytest_embedcache.vectors.sqlite_file import SqliteFile
from pytest_embedcache.vectors.sqlite_schema import transaction

if TYPE_CHECKING:
    from pytest_embedcache.vectors.store import StoreStats

__all__ = ["DEFAULT_MAX_BYTES", "SqliteStore"]

DEFAULT_MAX_BYTES = 2 * 2**30
#: Vectors in one transaction, so that other writers get their turn.
_TRANSACTION = 2000

_T = TypeVar("_T")
_INSERT = (
    "INSERT INTO vectors (model, key, stored, value) VALUES (?, ?, ?, ?)"
    # What is found here had expired or was damaged, or it would not be inserted.
    " ON CONFLICT (model, key) DO UPDATE SET stored = excluded.stored, value = excluded.value"
)


class SqliteStore:
    """A `VectorStore` in `<cache directory>/vectors.sqlite3`, safe for many processes.

    What `put_many` accepted survives the death of the process. The least recently used vectors
    leave first. When one was used is kept in memory and written with the next write: writing it at
    each read would cost as much as the read, and the write lock.

    Args:
        directory: The cache directory; `None` is the default one.
        max_bytes: Bound of the database, indexes included; `None` is none.
        ttl: Seconds that a vector lives from when it was put; `None` is for ever.
        timeout: Seconds to wait for another writer.
        clock: Returns seconds since the epoch, which all processes share.
        connect: Stands in for `sqlite3.connect` in tests.
    """

    name = "sqlite"

    def __init__(
        self,
        directory: str | PathLike[str] | None = None,
        *,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        ttl: float | None = None,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
    ) -> None:
        self.path = cache_directory(directory) / "vectors.sqlite3"
        self._file = SqliteFile(self.path, timeout=timeout, connect=connect)
        self._max_bytes = math.inf if max_bytes is None else max_bytes
        self._ttl = math.inf if ttl is None else ttl
        self._clock = clock
        self._counts = Counts()
        self._uses = upkeep.Uses()

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found, bad, numbers = self._run(partial(self._read, fingerprint=fingerprint, keys=keys))
        if bad:
            self._counts.add(corrupt=len(bad))
            with contextlib.suppress(StoreError):  # where it cannot be deleted it is a miss again
                self._run(partial(rows.delete_rows, rows=bad))
        self._uses.note(numbers, self._clock())
        self._counts.add(hits=len(found), misses=len(keys) - len(found))
        return found

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        vectors = check_vectors(items)
        winners = {}
        for keys in rows.chunks(vectors, _TRANSACTION):
            values = {key: pack(vectors[key], key) for key in keys}
            insert = partial(
                self._insert, fingerprint=fingerprint, values=values, uses=self._uses.take()
            )
            stored, corrupt, evicted = self._run(insert)
            self._counts.add(corrupt=corrupt, evictions=evicted)
            winners.update({k: old for k, old in stored.items() if not same(old, vectors[k])})
        return winners

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        return self._run(partial(rows.delete_keys, fingerprint=fingerprint, keys=keys))

    def clear(self, fingerprint: str | None = None) -> int:
        statement = "DELETE FROM vectors"
        values: tuple[str, ...] = ()
        if fingerprint is not None:
            statement, values = f"{statement} WHERE model = {rows.MODEL}", (fingerprint,)

        def delete(connection: sqlite3.Connection) -> int:
            with transaction(connection):
                return connection.execute(statement, values).rowcount

        return self._run(delete)

    def stats(self) -> StoreStats:
        """As the protocol says; `bytes` are those in use in the database, indexes included."""
        from pytest_embedcache.vectors.store import StoreStats  # a hit has no use for it

        def look(connection: sqlite3.Connection) -> tuple[int, int]:
            entries = upkeep.one(connection, "SELECT count(*) FROM uses")
            return entries, upkeep.bytes_used(connection)

        entries, used = self._run(look)
        return StoreStats(
            entries=entries,
            bytes=used,
            hits=self._counts["hits"],
            misses=self._counts["misses"],
            corrupt=self._counts["corrupt"] + self._file.moved_aside,
            errors=self._counts["errors"],
            evictions=self._counts["evictions"],
            details={
                "path": str(self.path),
                "file_bytes": _size(self.path),
                "journal_mode": self._file.journal_mode,
                "read_only": self._file.read_only,
                "moved_aside": self._file.moved_aside,
                "cache_ttl_days": None if self._ttl == math.inf else self._ttl / 86400,
            },
        )

    def close(self) -> None:
        """Close the connections of all threads; the next use opens new ones."""
        uses = self._uses.take()

        def write(connection: sqlite3.Connection) -> None:
            # Only if an eviction is near, and no other process is writing.
            if upkeep.bytes_used(connection) > self._max_bytes / 2:
                connection.execute("PRAGMA busy_timeout = 0")
                with transaction(connection):
                    upkeep.write_uses(connection, uses)

        if uses and self._file.is_open:
            # After a run without a write, what is read every day would count as unused.
            with contextlib.suppress(StoreError):
                self._file.run(write)
        self._file.close()

    # ------------------------------------------------------------------------------ upkeep

    def label(self, fingerprint: str, label: str) -> None:
        """Note for people what a fingerprint is: the name of the model."""

        def write(connection: sqlite3.Connection) -> None:
            found = connection.execute(
                f"SELECT label FROM models WHERE id = {rows.MODEL}", (fingerprint,)
            )
            if found.fetchone() == (label,):
                return
            with transaction(connection):
                connection.execute(
                    "INSERT INTO models (fingerprint, label) VALUES (?, ?)"
                    " ON CONFLICT (fingerprint) DO UPDATE SET label = excluded.label",
                    (fingerprint, label),
                )

        self._run(write)

    def models(self) -> list[upkeep.ModelUse]:
        """Entries and bytes for each model, the largest first; reads the whole database."""
        return self._run(upkeep.models)

    def prune(self) -> int:
        """Delete what has expired, and what is above the bound; returns how many vectors."""
        uses = self._uses.take()

        def delete(connection: sqlite3.Connection) -> tuple[int, int]:
            with transaction(connection):
                upkeep.write_uses(connection, uses)
                statement = "DELETE FROM vectors WHERE stored <= ?"
                expired = connection.execute(statement, (self._clock() - self._ttl,)).rowcount
                return expired, upkeep.evict(connection, self._max_bytes)

        expired, evicted = self._run(delete)
        self._counts.add(evictions=evicted)
        return expired + evicted

    def vacuum(self) -> int:
        """Give free pages back to the disk; returns by how many bytes the file shrank."""

        def shrink(connection: sqlite3.Connection) -> int:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = _size(self.path)
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return before - _size(self.path)

        return self._run(shrink)

    def verify(self) -> Iterator[tuple[str, bytes]]:
        """Check every value; yields (fingerprint, key) of those that are damaged.

        They are left where they are: a read, or `delete_many`, removes them.
        """
        statement = (
            "SELECT vectors.id, key, value, fingerprint FROM vectors"
            " LEFT JOIN models ON models.id = vectors.model"
            f" WHERE vectors.id > ? ORDER BY vectors.id LIMIT {rows.CHUNK}"
        )
        last = -(2**63)
        while answer := self._run(partial(_fetch, statement=statement, values=(last,))):
            for _, key, value, fingerprint in answer:
                named = key if isinstance(key, bytes) else b""
                try:
                    decode(value, named)
                except StoredValueError:
                    yield fingerprint or "", named
            last = answer[-1][0]

    # ------------------------------------------------------------------------------ statements

    def _run(self, operation: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            return self._file.run(operation)
        except StoreError:
            self._counts.add(errors=1)
            raise

    def _read(
        self, connection: sqlite3.Connection, fingerprint: str, keys: Iterable[bytes]
    ) -> tuple[dict[bytes, np.ndarray], list[rows.Row], list[int]]:
        return rows.read(connection, fingerprint, keys, self._clock() - self._ttl)

    def _insert(
        self,
        connection: sqlite3.Connection,
        fingerprint: str,
        values: dict[bytes, bytes],
        uses: list[tuple[float, int]],
    ) -> tuple[dict[bytes, np.ndarray], int, int]:
        """Insert what is missing; returns what was there, and counts of damaged and evicted."""
        with transaction(connection):
            connection.execute(
                "INSERT OR IGNORE INTO models (fingerprint) VALUES (?)", (fingerprint,)
            )
            model = upkeep.one(connection, f"SELECT {rows.MODEL}", fingerprint)
            stored, bad, _ = self._read(connection, fingerprint, values)
            now = self._clock()
            missing = [(model, k, now, v) for k, v in values.items() if k not in stored]
            connection.executemany(_INSERT, missing)
            upkeep.write_uses(connection, uses)
            evicted = upkeep.evict(connection, self._max_bytes)
        return stored, len(bad), evicted


def _fetch(connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> list[Any]:
    return connection.execute(statement, values).fetchall()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # moved aside a moment ago
        return 0
