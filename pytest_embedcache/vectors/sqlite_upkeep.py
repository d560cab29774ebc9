"""Keeping the database small: when rows were used, what has expired, what has to leave."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

from pytest_embedcache.vectors import forking

__all__ = ["ModelUse", "Uses", "bytes_used", "evict", "models", "one", "write_uses"]

#: After an eviction this part of the bound is in use, so that not every write evicts.
_AFTER_EVICTION = 0.9
#: Uses that are remembered until the next write: 10 MB of memory.
_MOST_USES = 100_000


class ModelUse(NamedTuple):
    """What a store holds of one model; `bytes` are those of the stored values."""

    fingerprint: str
    label: str | None
    entries: int
    bytes: int


class Uses:
    """When rows were last used, until that is written with the next write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # After a damaged file was replaced these may name other rows, which makes them look a
        # little more used than they are, and nothing worse.
        self._at: dict[int, float] = {}
        forking.tell(self)

    def note(self, rows: Iterable[int], at: float) -> None:
        """Remember that `rows` were used."""
        with self._lock:
            if len(self._at) > _MOST_USES:
                self._at = {}
            self._at.update(dict.fromkeys(rows, at))

    def take(self) -> list[tuple[float, int]]:
        """What is remembered, as (when, row), to be written; it is forgotten here."""
        with self._lock:
            uses, self._at = self._at, {}
        return [(at, row) for row, at in uses.items()]

    def __len__(self) -> int:
        return len(self._at)

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()


def write_uses(connection: sqlite3.Connection, taken: list[tuple[float, int]]) -> None:
    """Write when rows were used, in the caller's transaction; of those that still are there."""
    connection.executemany("UPDATE uses SET at = ? WHERE id = ?", taken)


def evict(connection: sqlite3.Connection, max_bytes: float) -> int:
    """Delete the least recently used vectors, in the caller's transaction; returns how many.

    The file does not become smaller, but the pages are used again.
    """
    removed = 0
    # Vectors differ in size: after one guess from their mean, a few more.
    for _ in range(10):
        used = bytes_used(connection)
        if used <= max_bytes:
            break
        entries = one(connection, "SELECT count(*) FROM uses")
        share = 1 - max_bytes * _AFTER_EVICTION / used
        least = "SELECT id FROM uses ORDER BY at, id LIMIT ?"
        statement = f"DELETE FROM vectors WHERE id IN ({least})"
        count = connection.execute(statement, (int(entries * share) + 1,)).rowcount
        if count == 0:
            break
        removed += count
    return removed


def bytes_used(connection: sqlite3.Connection) -> int:
    """Bytes of the database that hold something; takes no scan."""
    pages = one(connection, "PRAGMA page_count") - one(connection, "PRAGMA freelist_count")
    return pages * one(connection, "PRAGMA page_size")


def models(connection: sqlite3.Connection) -> list[ModelUse]:
    """The models that have vectors, the largest first; reads the whole database."""
    rows = connection.execute(
        "SELECT fingerprint, label, count(*), sum(length(value)) AS bytes"
        " FROM vectors JOIN models ON models.id = vectors.model"
        " GROUP BY models.id ORDER BY bytes DESC"
    )
    return [ModelUse(*row) for row in rows]


def one(connection: sqlite3.Connection, statement: str, *values: Any) -> int:
    """The number that the statement selects."""
    (number,) = connection.execute(statement, values).fetchone()
    return int(number or 0)
