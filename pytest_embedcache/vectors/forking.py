"""Stores in a process that forks.

A lock that another thread holds at the moment of a fork is never released in the child, and a
SQLite connection must not be carried across. So stores are told before a fork, when they come to
rest and stay so, and again after it, in the parent and in the child. All come to rest together:
nobody may wait for one such lock while holding another.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

__all__ = ["ForkAware", "tell"]


class ForkAware(Protocol):
    """What `tell` takes."""

    def before_fork(self) -> None:
        """Come to rest: from here until `after_fork`, nothing may change."""

    def after_fork(self) -> None:
        """Go on; called in the parent and in the child, by the thread that forked."""


_lock = threading.Lock()
_told: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_resting: list[ForkAware] = []


def tell(store: ForkAware) -> None:
    """Tell `store` of forks, for as long as it exists."""
    with _lock:
        _told.add(store)


def _before() -> None:
    _lock.acquire()  # held across the fork: one at a time
    for store in list(_told):
        store.before_fork()
        _resting.append(store)


def _after() -> None:
    try:
        while _resting:
            _resting.pop().after_fork()
    finally:
        _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
