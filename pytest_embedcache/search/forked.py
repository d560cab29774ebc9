"""Indexes in a process that forks: in the child every lock is open, and no connection is its own.

A lock that another thread holds at the moment of a fork is never released in the child. SQLite
counts the locks on a file by process: with a connection that was open at the fork, the child would
take its parent's for its own, through any connection to that file.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any

from pytest_embedcache.vectors import forking

__all__ = ["OneConnection", "is_left_alone", "renew_lock"]

#: Seconds that a fork waits for a thread that uses a connection.
PATIENCE = 5.0

_owners: weakref.WeakSet[Any] = weakref.WeakSet()
#: Paths of files that were in use when this process was forked.
_left_alone: set[Path] = set()
_carried: list[object] = []  # connections of the parent: to close them is to use them


def renew_lock(owner: Any) -> None:
    """Let `owner._lock` be a new `RLock` in a forked child."""
    _owners.add(owner)


def is_left_alone(path: Path) -> bool:
    """Whether this process was forked while its parent used the SQLite file `path`."""
    return path in _left_alone


class OneConnection:
    """A SQLite file with one connection, `_connection`, under `_lock`; closed before a fork.

    A thread may use it for long, or wait for another lock that is held for the fork. So it is
    waited for `PATIENCE` seconds at most; after that the child leaves the file alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: Any = None
        self._rests = False
        self._parent = 0
        forking.tell(self)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        raise NotImplementedError

    def before_fork(self) -> None:
        self._parent = os.getpid()
        self._rests = self._lock.acquire(timeout=PATIENCE)
        if self._rests:
            self.close()

    def after_fork(self) -> None:
        if self._rests:
            self._lock.release()
        elif os.getpid() != self._parent:
            _left_alone.add(self.path)
            _carried.append(self._connection)
            self._connection = None
            self._lock = threading.RLock()


def _renew() -> None:
    for owner in list(_owners):
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
