"""The directory of a semantic index: which of the builds in it answers.

    current.json     names the build that answers
    build-<name>/    one build, whole or being made

A new build is made beside the one that answers, and takes its place by one `os.replace`. Whoever
has the old one open keeps it, and sees at its next step that there is a new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from pytest_embedcache.errors import IndexDamagedError
from pytest_embedcache.files import flush_directory, make_directory, read_json, write_json
from pytest_embedcache.search.semantic.entries_schema import REBUILD

__all__ = ["Builds", "Stamp"]

#: Inode and time of the file that names the current build: another file, another build.
Stamp = tuple[int, int]

_PREFIX = "build-"
_NAME = re.compile(f"{_PREFIX}[0-9a-f]{{16}}")


class Builds:
    """The builds in the directory `path`, which need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pointer = path / "current.json"

    def stamp(self) -> Stamp | None:
        """Changes whenever another build becomes the current one; None where there is none."""
        try:
            found = os.stat(self._pointer)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def current(self) -> Path | None:
        """The directory of the build that answers; None where there is none.

        Raises:
            IndexDamagedError: Which one it is cannot be read.
        """
        if self.stamp() is None:
            return None
        found = read_json(self._pointer)
        name = found.get("build") if isinstance(found, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise IndexDamagedError(str(self._pointer), "it names no build", REBUILD)
        return self.path / name

    @contextmanager
    def building(self) -> Iterator[Path]:
        """The directory of a new build, empty; it goes again unless it was published inside."""
        import filelock  # by those who build: its import costs 25 ms

        make_directory(self.path)
        build = self.path / f"{_PREFIX}{os.urandom(8).hex()}"
        # Held as long as this process builds: what nobody holds and is not current is left over.
        lock = filelock.FileLock(self._lock_of(build))
        lock.acquire()
        try:
            yield make_directory(build)
        finally:
            lock.release()
            self.sweep()

    def publish(self, build: Path) -> None:
        """Let `build` answer from now on."""
        with self._publishing():
            self._point_to(build)

    def publish_first(self, build: Path) -> bool:
        """The same where no build answers yet; False where one does by now."""
        with self._publishing():
            if self.stamp() is not None:
                return False
            self._point_to(build)
        flush_directory(self.path.parent)  # the index may be new there
        return True

    def _publishing(self) -> AbstractContextManager[object]:
        """By turns, since a rename takes the place of what is there: a link would not, but some
        file systems have none."""
        import filelock

        return filelock.FileLock(self.path / ".publish.lock")

    def _point_to(self, build: Path) -> None:
        # Lasting, since the build before it is removed next.
        write_json(self._pointer, {"build": build.name}, lasting=True)

    def sweep(self) -> None:
        """Remove builds that neither answer nor are being made."""
        import filelock

        with contextlib.suppress(OSError, IndexDamagedError):
            for build in self.path.glob(f"{_PREFIX}*"):
                # Not every directory of such a name need be ours.
                if not _NAME.fullmatch(build.name) or not build.is_dir():
                    continue
                if build == self.current():
                    continue
                lock = filelock.FileLock(self._lock_of(build), timeout=0)
                with contextlib.suppress(filelock.Timeout), lock:
                    if build == self.current():
                        continue  # its maker has published it since, and let it go
                    shutil.rmtree(build, ignore_errors=True)
                    self._lock_of(build).unlink(missing_ok=True)

    def _lock_of(self, build: Path) -> Path:
        return self.path / f".{build.name}.lock"
