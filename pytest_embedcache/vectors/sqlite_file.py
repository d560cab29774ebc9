"""Connections to one SQLite file: one for each thread and process, none across a fork."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pytest_embedcache import notices
from pytest_embedcache.errors import StoreError
from pytest_embedcache.files import make_directory
from pytest_embedcache.vectors import forking, sqlite_schema
from pytest_embedcache.vectors.sqlite_aside import Identity, identity_of, move_aside
from pytest_embedcache.vectors.sqlite_schema import is_busy, is_damage, primary_code

__all__ = ["SqliteFile"]

_T = TypeVar("_T")

#: What a file system without shared memory between processes answers to WAL.
_NO_WAL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN)

#: What it answers where the log of a WAL database cannot be made.
_NO_LOG = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)

#: For all files: a file may be open through several objects, and a fork has to wait for a move.
_moving = threading.RLock()
_files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()


class SqliteFile:
    """The connections of this process to the database at `path`.

    Args:
        path: The file; it and its directory are made when first needed.
        timeout: Seconds to wait for another writer.
        connect: Stands in for `sqlite3.connect` in tests.

    Attributes:
        moved_aside: Damaged files that this object has moved.
        journal_mode: Of the last connection that was opened; "" before.
        read_only: Whether the last connection can only read.
    """

    def __init__(
        self,
        path: Path,
        *,
        timeout: float,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
    ) -> None:
        self.path = path
        self.moved_aside = 0
        self.journal_mode = ""
        self.read_only = False
        self._timeout = timeout
        self._connect = connect
        self._wal = True
        self._lock = threading.Lock()
        #: One thread finds out which journal works: another would try WAL again, under it.
        self._first = threading.Lock()
        self._local = threading.local()
        self._all: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._resting: list[_Held] = []
        _files.add(self)
        forking.tell(self)

    def run(self, operation: Callable[[sqlite3.Connection], _T]) -> _T:
        """Call `operation` with this thread's connection.

        It is called again, on a new database, if the first is found damaged.

        Raises:
            StoreError: SQLite could not.
        """
        held = self._mine()
        for _ in range(2):
            try:
                with held.lock:
                    connection = held.connection or self._open(held)
                    try:
                        return operation(connection)
                    finally:
                        # An interrupt can come between any two steps. What it left open would
                        # lock every other process out.
                        sqlite_schema.roll_back(connection)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not is_damage(error) or self.read_only:
                    raise self._error(error) from error
                self._move_aside(held.identity, str(error))
            except sqlite_schema.OtherVersionError as error:
                raise self._failure(
                    str(error), "Use the version that made it, or another directory."
                ) from None
        raise self._failure("it was damaged twice in a row", "Check the disk.")

    @property
    def is_open(self) -> bool:
        """Whether any thread of this process has a connection."""
        return any(held.connection for held in self._known())

    def close(self) -> None:
        """Close the connections of all threads; the next use opens anew."""
        for held in self._known():
            with held.lock:
                held.close()

    def before_fork(self) -> None:
        # An open connection, even an unused one, misleads the child about the locks that it has.
        _moving.acquire()
        self._lock.acquire()
        self._resting = list(self._all)
        for held in self._resting:
            held.lock.acquire()
            held.close()

    def after_fork(self) -> None:
        for held in self._resting:
            held.lock.release()
        self._resting = []
        self._lock.release()
        _moving.release()

    def _mine(self) -> _Held:
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = _Held()
            with self._lock:
                self._all.add(held)
        return held

    def _known(self) -> list[_Held]:
        with self._lock:
            return list(self._all)

    # ------------------------------------------------------------------------------ opening

    def _open(self, held: _Held) -> sqlite3.Connection:
        """Open `held`, whose lock is held."""
        deadline = time.monotonic() + self._timeout
        while True:
            self._make_file()
            held.identity = identity_of(self.path)
            try:
                with contextlib.nullcontext() if self.journal_mode else self._first:
                    connection = self._prepared()
            except sqlite3.OperationalError as error:
                # A change of the journal mode is answered with "locked" at once, without waiting,
                # and many processes start together: each lets go, and one of them gets through.
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.002, 0.02))
                continue
            # It has been read from, so SQLite's lock is on it: from here nobody can move it.
            if identity_of(self.path) == held.identity:
                held.connection = connection
                return connection
            connection.close()

    def _prepared(self) -> sqlite3.Connection:
        connection = self._opened()
        try:
            self._prepare(connection)
        except BaseException as error:
            connection.close()
            no_log = isinstance(error, sqlite3.Error) and primary_code(error) in _NO_LOG
            if not (no_log and self.read_only):
                raise
            # Without a place for a log a WAL database can be read only as one that never changes.
            connection = self._opened("mode=ro&immutable=1")
            self._prepare(connection)
        return connection

    def _opened(self, query: str = "mode=rw") -> sqlite3.Connection:
        return self._connect(
            f"file:{quote(str(self.path))}?{query}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,  # no transaction that we did not begin
            check_same_thread=False,  # only to be closed by another
        )

    def _make_file(self) -> None:
        try:
            make_directory(self.path.parent)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self.read_only = False
        except OSError as error:
            if not os.access(self.path, os.R_OK):
                raise self._failure(
                    error.strerror or str(error), "Choose another directory with EMBEDCACHE_DIR."
                ) from error
            self.read_only = True
            notices.degraded(
                f"the vector store {self.path} can only be read ({error.strerror}); new vectors "
                "are not kept. Choose another directory with EMBEDCACHE_DIR"
            )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        try:
            mode = sqlite_schema.prepare(connection, wal=self._wal)
        except sqlite3.OperationalError as error:
            if self.read_only or primary_code(error) not in _NO_WAL:
                raise
            sqlite_schema.leave_wal(connection)
            mode = sqlite_schema.prepare(connection, wal=False)
            self._wal = False
        self.journal_mode = mode
        if mode != "wal" and not self.read_only:
            notices.degraded(
                f"SQLite's write-ahead log does not work at {self.path} (a network file system?); "
                f"the journal mode is {mode}, and writers wait for readers. A directory on a "
                "local disk is faster"
            )

    # ------------------------------------------------------------------------------ damage

    def _move_aside(self, identity: Identity | None, reason: str) -> None:
        with _moving:
            if identity is None or identity_of(self.path) != identity:
                return  # another thread or process has done it
            for file in list(_files):
                if file.path == self.path:
                    file.close()
            try:
                aside = move_aside(self.path, identity)
            except OSError as error:
                raise self._failure(
                    f"it is damaged ({reason}) and cannot be moved aside: "
                    f"{error.strerror or error}",
                    f"When no process uses it, remove {self.path}.",
                ) from error
            if aside is None:
                return
            self.moved_aside += 1
        notices.degraded(
            f"the vector store {self.path} was damaged ({reason}): it was moved to {aside.name} "
            "and begun anew; vectors are computed again"
        )

    def _error(self, error: Exception) -> StoreError:
        remedy = {
            sqlite3.SQLITE_BUSY: "Another process is writing for long; it is tried again later.",
            sqlite3.SQLITE_FULL: "Make room, or choose another directory with EMBEDCACHE_DIR.",
            sqlite3.SQLITE_READONLY: "Choose another directory with EMBEDCACHE_DIR.",
        }.get(primary_code(error) or 0, "See whether the disk is full or the directory usable.")
        return self._failure(str(error), remedy)

    def _failure(self, reason: str, remedy: str) -> StoreError:
        return StoreError("sqlite", str(self.path), reason, remedy)


class _Held:
    """A thread's connection, or the place for one; closed when the thread is gone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        self.identity: Identity | None = None

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def __del__(self) -> None:
        self.close()
