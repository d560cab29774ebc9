"""Where a model host is, and for whom: a short path in a directory that nobody else can enter.

Its name is made of everything that decides which vectors a host has: its surroundings, and the
cache directory. So a host of another environment is not found, and hosts of different environments
do not meet.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pytest_embedcache.encoding import digest
from pytest_embedcache.models.host.surroundings import Surroundings

__all__ = ["Address", "address_of", "any_kept", "known", "private_directory"]

#: Bytes of a socket's path, with its final zero, on macOS; Linux allows 108.
_LONGEST = 103


@dataclass(frozen=True)
class Address:
    """Of one host.

    Attributes:
        path: The socket's; where there are no Unix sockets, of the file that has the port.
        unix: Whether it is a Unix socket.
    """

    path: Path
    unix: bool = hasattr(socket, "AF_UNIX")

    @property
    def secret(self) -> Path:
        """The file with what both sides have to know."""
        return self.path.with_suffix(".key")

    @property
    def lock(self) -> Path:
        """Held by whoever starts a host; one for all, since a lock file stays."""
        return self.path.with_name("start.lock")


def private_directory(folder: Path, *, make: bool = False) -> None:
    """Check the directory of a socket; with `make` it is made if need be.

    Raises `OSError` where there is none, or it is not this user's alone.
    """
    if make:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    if os.name == "posix":
        # Not through a link: in /tmp anybody can lay one.
        found = folder.lstat()
        private = not stat.S_IMODE(found.st_mode) & 0o077
        if not (stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and private):
            raise PermissionError(
                f"{folder} is not a directory of this user alone (mode 700); remove it"
            )


def _place(around: Surroundings) -> Path:
    """Short, and not the same for two users."""
    if os.name != "posix":
        return Path(tempfile.gettempdir(), "embedcache")
    name = f"embedcache-{os.getuid()}"
    for candidate in (around.variables.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        # With room for the name of a socket.
        if candidate and os.path.isdir(candidate) and os.access(candidate, os.W_OK):
            folder = Path(candidate, name)
            if len(os.fsencode(folder)) + 30 <= _LONGEST:
                return folder
    return Path("/tmp", name)


def address_of(
    cache_dir: str, run: str | None = None, *, around: Surroundings | None = None
) -> Address:
    """Of the host for these surroundings and cache directory, kept or of one run.

    None are the surroundings of this process.
    """
    around = around or Surroundings.now()
    kind = "keep" if run is None else "run"
    name = digest(around.environment, os.path.abspath(cache_dir), run or "")[:16]
    suffix = "sock" if Address.unix else "port"
    return Address(_place(around) / f"{kind}-{name}.{suffix}")


def known(folder: Path | None = None) -> list[Address]:
    """Every address in a directory at which there is, or was, a host; None is this user's."""
    suffix = "sock" if Address.unix else "port"
    folder = folder or _place(Surroundings.now())
    return [Address(path) for path in sorted(folder.glob(f"[kr]*.{suffix}"))]


def any_kept(around: Surroundings) -> bool:
    """Whether there may be a host that was kept; quick, for those who have none."""
    try:
        return any(name.startswith("keep-") for name in os.listdir(_place(around)))
    except OSError:
        return False
