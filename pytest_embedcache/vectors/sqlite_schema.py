"""What is in the database: its tables, and how one is made in a journal mode that works.

models   fingerprint <-> a small number, and a label for people
vectors  one row for each vector; the integer primary key makes a read three times faster than
         a table that is ordered by the key itself
uses     when each vector was last used; apart, because changing a row rewrites its page, and a
         page holds five vectors but hundreds of these
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

__all__ = [
    "OtherVersionError",
    "is_busy",
    "is_damage",
    "leave_wal",
    "prepare",
    "primary_code",
    "roll_back",
    "transaction",
]

#: In `PRAGMA user_version`.
VERSION = 1

_TABLES = (
    "CREATE TABLE models (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, label TEXT)",
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, model INTEGER NOT NULL, key BLOB NOT NULL,"
    " stored REAL NOT NULL, value BLOB NOT NULL, UNIQUE (model, key))",
    "CREATE TABLE uses (id INTEGER PRIMARY KEY, at REAL NOT NULL)",
    "CREATE TRIGGER vector_added AFTER INSERT ON vectors"
    " BEGIN INSERT OR REPLACE INTO uses VALUES (new.id, new.stored); END",
    "CREATE TRIGGER vector_replaced AFTER UPDATE ON vectors"
    " BEGIN UPDATE uses SET at = new.stored WHERE id = new.id; END",
    "CREATE TRIGGER vector_removed AFTER DELETE ON vectors"
    " BEGIN DELETE FROM uses WHERE id = old.id; END",
)


class OtherVersionError(Exception):
    """The database has a schema of another version."""


def prepare(connection: sqlite3.Connection, *, wal: bool) -> str:
    """Make the tables where there are none; returns the journal mode.

    What was written survives the death of the process in every mode. In WAL, `synchronous=NORMAL`
    may lose the last transactions to a loss of power, but no more than these: they were a cache.

    Raises:
        OtherVersionError: The tables are those of another version.
        sqlite3.Error: Whatever SQLite finds.
    """
    connection.text_factory = _lenient_text
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if (version := _version(connection)) == 0:
        version = _create(connection, wal=wal)
    if version != VERSION:
        raise OtherVersionError(f"its schema has version {version}, this is version {VERSION}")
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode == "delete":  # WAL is a property of the file; which rollback journal is not
        (mode,) = connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA cache_size = -8192")  # kB; for the pages of the index
    return str(mode)


def _create(connection: sqlite3.Connection, *, wal: bool) -> int:
    """Make the tables, unless another process was quicker; returns the version that is there."""
    # Five vectors of 384 components to a page; the default of 4096 holds two, and wastes a fifth.
    connection.execute("PRAGMA page_size = 8192")
    # On a network file system this succeeds and the first write fails: so write at once.
    connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'TRUNCATE'}")
    with transaction(connection):
        version = _version(connection)
        if version == 0:
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            version = VERSION
    return version


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def leave_wal(connection: sqlite3.Connection) -> None:
    """Go over to a rollback journal where WAL cannot work, for want of shared memory.

    Under an exclusive lock SQLite can read a WAL database without shared memory.
    """
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    try:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
    finally:
        connection.execute("PRAGMA locking_mode = NORMAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # gives up the lock


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: begun as one, since a read that becomes a write does not wait."""
    try:
        # Inside: an interrupt while it waits for another writer arrives when it has begun.
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that was left open, where there is one."""
    if connection.in_transaction:  # on a full disk SQLite has rolled back by itself
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def primary_code(error: Exception) -> int | None:
    """SQLite's result code without its extension; None for an error of the Python module."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def is_busy(error: Exception) -> bool:
    """Whether another connection had what this one wanted."""
    return primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: Exception) -> bool:
    """Whether the file is not, or no longer, a database of ours."""
    if isinstance(error, UnicodeDecodeError):
        return True  # of SQLite's message, which quotes the damaged schema
    code = primary_code(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return True
    # Our statements are right: a table that is missing was there. "already exists" comes where the
    # version was lost and the tables were not.
    words = ("no such table", "no such column", "has no column", "already exists", "file format")
    return code == sqlite3.SQLITE_ERROR and any(word in str(error) for word in words)


def _lenient_text(raw: bytes) -> str:
    return raw.decode(errors="replace")  # a flipped bit in a label is no reason to fail
