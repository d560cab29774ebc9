"""The index in a directory, opened: always the build that answers now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from pytest_embedcache.errors import IndexDamagedError, LockTimeoutError, SemanticIndexError
from pytest_embedcache.search.forked import renew_lock
from pytest_embedcache.search.semantic.build import Build
from pytest_embedcache.search.semantic.builds import Builds
from pytest_embedcache.search.semantic.entries_schema import REBUILD
from pytest_embedcache.search.semantic.entries_writing import Writing

__all__ = ["Opened"]

_T = TypeVar("_T")

#: What reading a build can meet whose files are being removed.
_GONE = (IndexDamagedError, LockTimeoutError, OSError, SemanticIndexError)


class Opened:
    """The current build of the index in `path`, whichever it is at the time.

    Args:
        path: The index's own directory.
        vector_backend: As in `VectorIndex.open`.
    """

    def __init__(self, path: Path, vector_backend: str | None) -> None:
        self.builds = Builds(path)
        self.vector_backend = vector_backend
        self._lock = threading.RLock()
        self._build: Build | None = None
        renew_lock(self)

    def current(self) -> Build:
        """The build that answers now.

        Raises:
            SemanticIndexError: There is none.
            IndexDamagedError: It cannot be read.
        """
        with self._lock:
            while self._build is None or self._build.stamp != self.builds.stamp():
                self.close()
                stamp = self.builds.stamp()
                directory = self.builds.current()
                if directory is None:
                    raise SemanticIndexError(
                        str(self.builds.path),
                        "there is none",
                        "Make it: embedcache index build FILE, or SemanticIndex(path, model).",
                    )
                try:
                    self._build = Build(directory, stamp, self.vector_backend)
                except FileNotFoundError as error:
                    if stamp == self.builds.stamp():  # not because another has taken its place
                        reason = "its entries are gone"
                        raise IndexDamagedError(str(directory), reason, REBUILD) from error
            return self._build

    def answer(self, work: Callable[[Build], _T]) -> _T:
        """What `work` finds in the build that answers.

        A build may go while it is read, because another has taken its place: then that one is read.
        """
        while True:
            build = self.current()
            try:
                return work(build)
            except _GONE:
                if build.stamp == self.builds.stamp():
                    raise

    @contextmanager
    def writing(self) -> Iterator[tuple[Build, Writing]]:
        """A transaction in the build that answers when it is committed."""
        while True:
            build = self.current()
            with ExitStack() as stack:
                try:
                    writing = stack.enter_context(build.entries.writing())
                except _GONE:
                    if build.stamp == self.builds.stamp():
                        raise
                    continue
                # Looked at inside: a build takes another's place while it holds this lock.
                if build.stamp == self.builds.stamp():
                    yield build, writing
                    return

    def close(self) -> None:
        """Let go of the files; the next use opens them again."""
        with self._lock:
            build, self._build = self._build, None
            if build is not None:
                build.close()
