"""The directories in which an artifact is built, one for each attempt, and what becomes of them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import time
from pathlib import Path

from pytest_embedcache.encoding import digest
from pytest_embedcache.files import make_directory

__all__ = ["new_generation", "remove_abandoned"]

_NAME = re.compile(r"(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)-[0-9a-f]{8}")
#: After this many seconds a builder of which nothing is known is taken to be gone.
_ABANDONED_AFTER = 86400.0


def new_generation(directory: Path) -> Path:
    """An empty directory in `directory`, named after the process that builds there."""
    return make_directory(directory / f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}")


def remove_abandoned(directory: Path, *, keep: str | None) -> None:
    """Remove from `directory` what builders left that were killed, but for the generation `keep`.

    Called with the artifact's lock held. On a file system whose locks do nothing another process
    may be building beside us all the same: what may be in use stays.
    """
    for leftover in directory.iterdir():
        if leftover.name != keep and _is_abandoned(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
        elif leftover.suffix == ".tmp":  # a manifest that was being written
            with contextlib.suppress(OSError):
                leftover.unlink()


def _host() -> str:
    return digest(socket.gethostname())[:8]


def _is_abandoned(generation: Path) -> bool:
    found = _NAME.fullmatch(generation.name)
    if found is None:
        return False
    if found["host"] == _host() and os.name == "posix":
        try:
            os.kill(int(found["pid"]), 0)
        except ProcessLookupError:
            return True
        except OSError:  # it runs, as another user
            pass
    try:
        return time.time() - generation.stat().st_mtime > _ABANDONED_AFTER
    except OSError:
        return False
