"""What went the slow way, said once.

The cache never breaks its caller: a directory that cannot be written or a lock that cannot be
taken costs time, not the answer. Such a thing is logged once per process, counted every time, and
listed in the summary of a test run. It is not a Python warning, because a suite that turns
warnings into errors would then be broken by its cache.
"""

from __future__ import annotations

import logging
import os
import threading

__all__ = ["counts", "degraded", "reset"]

_log = logging.getLogger("pytest_embedcache")
_lock = threading.Lock()
_counts: dict[str, int] = {}


def degraded(message: str) -> None:
    """Log `message` at WARNING the first time it is seen in this process, and count it always."""
    with _lock:
        seen = _counts.get(message, 0)
        _counts[message] = seen + 1
    if not seen:
        _log.warning("%s", message)


def counts() -> dict[str, int]:
    """Every message so far and how often it occurred, in order of first occurrence."""
    with _lock:
        return dict(_counts)


def reset() -> None:
    """Forget all messages (for tests)."""
    with _lock:
        _counts.clear()


def _renew() -> None:
    """In a forked child: a thread that was speaking does not exist here, and ends nothing."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
