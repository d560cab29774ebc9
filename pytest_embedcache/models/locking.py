"""One preparation at a time on a machine: a file lock that says who holds it.

The lock saves work and carries no correctness: what is prepared appears whole and is verified
when it is used, also where a file system's locks do nothing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_embedcache.errors import LockTimeoutError, SettingsError
from pytest_embedcache.files import make_directory, read_json, write_json

if TYPE_CHECKING:
    import filelock

__all__ = ["ANNOUNCE_AFTER", "default_lock_timeout", "machine_lock"]

_log = logging.getLogger(__name__)

#: Seconds of waiting after which one line names the holder.
ANNOUNCE_AFTER = 5.0
#: Seconds; a model of several gigabytes takes minutes to fetch.
DEFAULT_TIMEOUT = 1800.0


def default_lock_timeout() -> float:
    """The deadline in seconds: `EMBEDCACHE_LOCK_TIMEOUT`, else half an hour."""
    text = os.environ.get("EMBEDCACHE_LOCK_TIMEOUT")
    if not text:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SettingsError(
            "EMBEDCACHE_LOCK_TIMEOUT", text, "environment", "give a number of seconds, such as 600"
        )
    return seconds


@contextmanager
def machine_lock(
    path: Path, what: str, *, timeout: float, announce_after: float = ANNOUNCE_AFTER
) -> Iterator[None]:
    """Hold the lock file `path`, while preparing `what`.

    A killed holder frees it at once. After `announce_after` seconds of waiting one line at WARNING
    names the holder; after `timeout` seconds comes `LockTimeoutError`. `OSError` is raised where
    the lock file cannot be made.
    """
    import filelock  # on the path of a preparation only: its import costs 25 ms

    make_directory(path.parent)
    lock = _file_lock(path)
    note = path.with_suffix(".holder")
    started = time.monotonic()
    try:
        try:
            lock.acquire(timeout=min(announce_after, timeout))
        except filelock.Timeout:
            if timeout <= announce_after:
                raise
            _log.warning("Waiting for %s, which %s is preparing", what, _holder(note))
            lock.acquire(timeout=timeout - announce_after)
    except filelock.Timeout:
        waited = time.monotonic() - started
        raise LockTimeoutError(what, str(path), _holder(note), waited) from None
    except NotImplementedError as error:  # what an older filelock makes of ENOSYS
        raise OSError(errno.ENOSYS, "its file system has no locks", str(path)) from error
    try:
        with contextlib.suppress(OSError):  # a note for people; the lock holds without it
            write_json(
                note, {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            )
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def _file_lock(path: Path) -> filelock.BaseFileLock:
    import filelock

    # Where a file system has no locks, rather none: a lock that is the existence of a file
    # outlives a holder that was killed. An older filelock has none to fall back to.
    if hasattr(filelock.FileLock, "fallback_to_soft"):
        return filelock.FileLock(path, fallback_to_soft=False)
    return filelock.FileLock(path)


def _holder(note: Path) -> str:
    found = read_json(note)
    try:
        since = max(0.0, time.time() - float(found["since"]))
        return f"process {int(found['pid'])} on {found['host']} (for {since:.0f} s)"
    except (TypeError, KeyError, ValueError):
        return "another process"
