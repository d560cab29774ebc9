"""No fork in the middle of an import.

In the child the importing thread does not exist, but the module that it was importing is locked by
it: whoever imports that module waits for ever. So a fork waits until the libraries are imported,
and a model is built, for which they import more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_embedcache import notices

__all__ = ["importing", "wait_first"]

#: Seconds that a fork waits. The import itself may be waiting for the thread that forks.
_LONGEST = 30.0

#: Held while importing, and by a fork.
_lock = threading.RLock()
#: Taken on the way to it: a fork that waits is the next.
_door = threading.RLock()
_depth = threading.local()
_held = False


@contextmanager
def importing() -> Iterator[None]:
    """No other thread forks the process inside."""
    depth = getattr(_depth, "value", 0)
    if not depth:  # who is inside passes no door
        with _door:
            _lock.acquire()
    _depth.value = depth + 1
    lock = _lock
    try:
        yield
    finally:
        _depth.value = depth
        if not depth:
            lock.release()


def wait_first() -> None:
    """Wait before all others that prepare for a fork, of those that are known by now.

    What torch brings takes a lock of its own before a fork, which a load that we wait for needs.
    The last one that was registered comes first.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork)


def _before_fork() -> None:
    global _held
    if _held:
        return
    _door.acquire()
    _held = _lock.acquire(timeout=_LONGEST)
    if not _held:
        _door.release()
        notices.degraded(
            "the process was forked while a thread was importing a model's libraries; a child that "
            "needs them may hang. Load the model before forking"
        )


def _after_fork_in_parent() -> None:
    global _held
    if _held:
        _held = False
        _lock.release()
        _door.release()


def _after_fork_in_child() -> None:
    global _lock, _door
    if _held:
        _after_fork_in_parent()
    else:
        _lock, _door = threading.RLock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
