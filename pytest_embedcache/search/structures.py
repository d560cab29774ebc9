"""The backend of an index: found, made, or replaced by a scan, and why."""

from __future__ import annotations

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path

from pytest_embedcache import notices
from pytest_embedcache.search.backend import VectorBackend
from pytest_embedcache.search.choice import Choice
from pytest_embedcache.search.view import View

__all__ = ["find", "is_made_by", "make", "say_behind"]


def find(choice: Choice, directory: Path, view: View) -> tuple[VectorBackend | None, Choice]:
    """The structure of that backend, as it is on the disk; None is a scan of the rows."""
    if choice.backend == "exact":
        return None, choice
    if missing := _unavailable(choice.backend):
        return None, _instead(choice, directory, missing)
    try:
        if choice.backend == "sqlite-vec":
            from pytest_embedcache.search.sqlite_vec import SqliteVec

            return SqliteVec.open(directory, view.manifest), choice
        from pytest_embedcache.search.approximate import Approximate

        return Approximate.open(directory, view.manifest.generation), choice
    except FileNotFoundError:
        return None, _not_yet(choice)
    except BlockingIOError:
        return None, _in_use(choice)
    except OSError as error:
        return None, _instead(choice, directory, f"its file cannot be used ({error})")


def make(choice: Choice, directory: Path, view: View) -> tuple[VectorBackend | None, Choice]:
    """The structure with all rows of `view`. The lock is held."""
    if choice.backend == "exact":
        return None, choice
    if missing := _unavailable(choice.backend):
        return None, _instead(choice, directory, missing)
    try:
        if choice.backend == "sqlite-vec":
            return _sqlite_vec(directory, view), choice
        from pytest_embedcache.search.approximate import Approximate

        if not len(view.matrix):
            return None, _not_yet(choice)
        return Approximate.make(directory, view), choice
    except BlockingIOError:
        return None, _in_use(choice)
    except OSError as error:
        return None, _instead(choice, directory, f"its file cannot be made ({error})")


def _sqlite_vec(directory: Path, view: View) -> VectorBackend:
    from pytest_embedcache.search.sqlite_vec import SqliteVec

    path = SqliteVec.path_of(directory, view.manifest.generation)
    try:
        return SqliteVec.make(path, view)
    except BlockingIOError:
        raise  # it is in use, and sound
    except OSError:
        # Perhaps what is there is damaged. It holds nothing that the rows do not.
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{path}{suffix}")
        return SqliteVec.make(path, view)


def is_made_by(choice: Choice, backend: VectorBackend | None, view: View) -> bool:
    """Whether a writer brings the structure up to date after each change.

    That of `approximate` takes too long: rows that it does not cover are scanned until a rebuild.
    """
    if choice.backend == "sqlite-vec":
        return backend is None or backend.covered < len(view.matrix)
    return False


def say_behind(directory: Path, error: OSError) -> None:
    """Say once that a structure could not be brought up to date."""
    notices.degraded(
        f"index {directory.parent}: what its backend keeps cannot be brought up to date "
        f"({error.strerror or error}); new vectors are found by a scan"
    )


def _unavailable(backend: str) -> str | None:
    if backend == "sqlite-vec":
        from pytest_embedcache.search import loadable

        return loadable.unavailable()
    if find_spec("usearch") is None:
        return "the package usearch is not installed (pip install 'pytest-embedcache[search]')"
    return None


def _not_yet(choice: Choice) -> Choice:
    """Nothing is wrong, and nothing is logged."""
    reason = f"{choice.backend} is not made yet for these vectors: rebuild() makes it"
    return Choice("exact", reason)


def _in_use(choice: Choice) -> Choice:
    """For a moment only, and nothing is logged."""
    return Choice("exact", f"the file of {choice.backend} is in use by another process")


def _instead(choice: Choice, directory: Path, reason: str) -> Choice:
    said = f"{choice.backend} cannot be used, since {reason}; exact serves"
    notices.degraded(f"index {directory.parent}: {said}")
    return Choice("exact", said)
