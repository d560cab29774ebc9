"""A damaged database is moved aside, when nobody else has it open.

It keeps its name, plus `.corrupt-<time>`. SQLite deletes a write-ahead log by name when the last
connection closes, so renaming a database that another process has open would later cost the new
database its log.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Identity", "identity_of", "move_aside"]

#: Device and inode: which file it is, whatever its name.
Identity = tuple[int, int]

#: SQLite's own lock: every connection to a WAL database holds these bytes for reading.
_SHARED_FIRST = 0x40000002
_SHARED_SIZE = 510
#: Seconds to wait while other processes find out for themselves, and let go of it.
_WAIT_FOR_OTHERS = 1.0


def identity_of(path: Path) -> Identity | None:
    """Which file is at `path`; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def move_aside(path: Path, identity: Identity) -> Path | None:
    """Move the database with its log, if it still is that file; returns where it is now.

    The caller has closed the connections of this process.

    Raises:
        OSError: Another process has it open, or the directory cannot be written.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    with _alone(path):
        if identity_of(path) != identity:
            return None
        for older in path.parent.glob(f"{path.name}.corrupt-*"):
            older.unlink(missing_ok=True)  # one is enough to look at
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other process has the database open.

    Raises:
        OSError: One has, also after a while.
    """
    if os.name != "posix":  # Windows renames no file that is open
        yield
        return
    import fcntl

    deadline = time.monotonic() + _WAIT_FOR_OTHERS
    handle = os.open(path, os.O_RDWR)
    try:
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise OSError("other processes are using it") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)
