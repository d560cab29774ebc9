"""An index as this process sees it now, and how it notices that another has changed it."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import NamedTuple

from pytest_embedcache.errors import IndexDamagedError
from pytest_embedcache.search import structures
from pytest_embedcache.search.backend import VectorBackend
from pytest_embedcache.search.choice import Choice, choose
from pytest_embedcache.search.manifest import MANIFEST, Manifest, damaged, stamp
from pytest_embedcache.search.view import View

__all__ = ["Opened", "close", "is_current", "load", "size"]

_log = logging.getLogger(__name__)

#: Rebuilds in a row, each of which replaced what was about to be read.
_TRIES = 50


class Opened(NamedTuple):
    """One commit, and what answers its searches; both are of one generation."""

    view: View
    backend: VectorBackend | None
    choice: Choice
    #: The manifest's stamp: another one is another commit.
    stamp: list[int]


def is_current(directory: Path, opened: Opened) -> bool:
    """Whether nobody has committed since; raises `IndexDamagedError` where the manifest is gone."""
    path = directory / MANIFEST
    try:
        return stamp(path) == opened.stamp
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None


def load(directory: Path, asked: str, before: Opened | None = None) -> Opened:
    """What is committed now; what is as it was `before` is kept.

    Raises `IndexDamagedError`, and `FileNotFoundError` where there is no index.
    """
    view, now = _view(directory, before)
    size = len(view.ids), view.manifest.dimension
    if before is not None and before.view.manifest.generation == view.manifest.generation:
        backend, choice = before.backend, before.choice
        if backend is None and asked != "exact":
            backend, choice = structures.find(choose(asked, *size), directory, view)
        elif backend is not None:
            with contextlib.suppress(OSError):  # said when it is asked
                backend.refresh()
        return Opened(view, backend, choice, now)
    backend, choice = structures.find(choose(asked, *size), directory, view)
    _log.info("index %s: the backend is %s: %s", directory.parent, *choice)
    return Opened(view, backend, choice, now)


def _view(directory: Path, before: Opened | None) -> tuple[View, list[int]]:
    """The view, checked; a file that a rebuild removed under our eyes is looked for again."""
    for _ in range(_TRIES):
        now = stamp(directory / MANIFEST)
        manifest = Manifest.read(directory)
        try:
            view = View.load(directory, manifest)
            if before is None or before.view.manifest.generation != manifest.generation:
                manifest.check_rows(directory)
            return view, now
        except (FileNotFoundError, IndexDamagedError) as error:
            if Manifest.read(directory).commit == manifest.commit:
                if isinstance(error, IndexDamagedError):
                    raise
                raise damaged(Path(error.filename or directory), "it is missing") from None
    raise damaged(directory / MANIFEST, "it is replaced faster than it can be read")


def close(found: Opened | VectorBackend | None) -> None:
    """Let go of the structure; the mapping goes with the last array of it."""
    backend = found.backend if isinstance(found, Opened) else found
    if backend is not None:
        backend.close()


def size(directory: Path) -> int:
    """Bytes of the files below a directory, where others may be removing some."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total
