"""No fork in the middle of an import.

In the child the importing thread does not exist, but the module that it was importing is locked by
it: whoever imports that module waits for ever. So a fork waits until the libraries are imported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_embedcache import notices

__all__ = ["importing"]

#: Seconds that a fork waits. The import itself may be waiting for the thread that forks.
_LONGEST = 30.0

_lock = threading.RLock()
_held = False


@contextmanager
def importing() -> Iterator[None]:
    """No other thread forks the process inside."""
    with _lock:
        yield


def _before_fork() -> None:
    global _held
    _held = _lock.acquire(timeout=_LONGEST)
    if not _held:
        notices.degraded(
            "the process was forked while a thread was importing a model's libraries; a child that "
            "needs them may hang. Load the model before forking"
        )


def _after_fork_in_parent() -> None:
    global _held
    if _held:
        _held = False
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock
    if _held:
        _after_fork_in_parent()
    else:
        _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
