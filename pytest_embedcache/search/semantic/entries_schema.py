"""The database of a semantic index: its entries, their vectors, and the words in them.

about    what the whole index is: the model's identity and name, and the number of the last change
entries  one row for each entry; its number is never used again
vectors  the entry's vector, as `vectors.codec` writes it; there is none where there was no model
removed  the numbers of entries that are gone, for whoever follows the changes
words    the full text, in FTS5, without a copy of the texts. Whoever writes an entry writes it: a
         trigger would need the schema to be trusted, which is not done with a file from elsewhere
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from pytest_embedcache.errors import EmbedCacheError, IndexDamagedError, SemanticIndexError
from pytest_embedcache.files import make_directory
from pytest_embedcache.vectors.sqlite_schema import (
    is_busy,
    is_damage,
    leave_wal,
    primary_code,
    transaction,
)

__all__ = ["REBUILD", "create", "in_use_at_the_fork", "open_existing", "problem"]

#: In `PRAGMA user_version`.
VERSION = 1
#: What to do where the database is damaged: nothing in it is certain then, texts included.
REBUILD = "Build it anew from its texts: embedcache index build FILE."

_TABLES = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value NOT NULL)",
    "CREATE TABLE entries (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
    " text TEXT NOT NULL, metadata TEXT NOT NULL, changed INTEGER NOT NULL,"
    " lacks INTEGER NOT NULL)",
    "CREATE INDEX entries_changed ON entries (changed)",
    "CREATE INDEX entries_lacking ON entries (number) WHERE lacks = 1",
    "CREATE TABLE vectors (number INTEGER PRIMARY KEY, value BLOB NOT NULL)",
    "CREATE TABLE removed (number INTEGER PRIMARY KEY, changed INTEGER NOT NULL)",
    "CREATE INDEX removed_changed ON removed (changed)",
    "CREATE VIRTUAL TABLE words USING fts5(text, content='entries', content_rowid='number',"
    " tokenize='unicode61 remove_diacritics 2')",
    "INSERT INTO about VALUES ('sequence', 0), ('applied', 0)",
)

#: What a file system without shared memory between processes answers to WAL.
_NO_WAL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN)


def create(path: Path, timeout: float) -> None:
    """Make the database at `path`, where there is none yet."""
    make_directory(path.parent)
    connection = _connect(path, timeout, "rwc")
    try:
        # Five vectors of 384 components to a page, as in the vector store.
        connection.execute("PRAGMA page_size = 8192")
        try:
            _make_tables(connection, "WAL")
        except sqlite3.OperationalError as error:
            if primary_code(error) not in _NO_WAL:
                raise
            leave_wal(connection)
            _make_tables(connection, "TRUNCATE")
        path.chmod(0o600)
    except sqlite3.Error as error:
        raise problem(path, error) from error
    finally:
        connection.close()


def _make_tables(connection: sqlite3.Connection, journal: str) -> None:
    connection.execute(f"PRAGMA journal_mode = {journal}")
    with transaction(connection):
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def open_existing(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection to a database that `create` made.

    Raises:
        FileNotFoundError: There is none.
        IndexDamagedError: It is no such database.
        SemanticIndexError: It is one of another version, or busy.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    connection = _connect(path, timeout, "rw")
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        # These are the entries themselves, not a cache: what was said to be added stays, also
        # after a loss of power.
        connection.execute("PRAGMA synchronous = FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            raise IndexDamagedError(str(path), "it has no entries table", REBUILD)
        if version != VERSION:
            reason = f"it is of version {version}; this is version {VERSION}"
            raise SemanticIndexError(str(path), reason, REBUILD)
        connection.execute("SELECT value FROM about WHERE name = 'sequence'").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        connection.close()
        raise problem(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, timeout: float, mode: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            timeout=timeout,
            isolation_level=None,  # no transaction that we did not begin
            check_same_thread=False,  # one thread at a time, but not always the same
        )
    except sqlite3.Error as error:
        raise problem(path, error) from error


def problem(path: Path, error: Exception) -> EmbedCacheError:
    """What SQLite found, with its remedy."""
    if is_damage(error) or not isinstance(error, sqlite3.Error):
        return IndexDamagedError(str(path), str(error), REBUILD)
    if is_busy(error):
        remedy = "Another process is writing for long; try again when it has ended."
    elif "fts5" in str(error):
        remedy = "This Python's SQLite has no full-text search (FTS5); use one that has."
    else:
        remedy = "See whether the disk is full or the directory usable."
    return SemanticIndexError(str(path), str(error), remedy)


def in_use_at_the_fork(path: Path) -> SemanticIndexError:
    """The error of a child whose parent was using the file in another thread when it forked."""
    return SemanticIndexError(
        str(path),
        "this process was forked while another thread was using it",
        "Fork while no thread changes the index, or start processes by spawn or forkserver.",
    )
