"""Making an index, and writing one whole: for `VectorIndex`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_embedcache.errors import IndexDamagedError, IndexEntryError, IndexMismatchError
from pytest_embedcache.search import opened, structures, writing
from pytest_embedcache.search.choice import choose
from pytest_embedcache.search.manifest import Manifest
from pytest_embedcache.search.vectors import Entries
from pytest_embedcache.search.view import View

__all__ = ["copy", "locked", "open_or_make", "write_whole"]


def open_or_make(
    directory: Path, asked: str, dimension: int | None, metric: str | None, anew: bool
) -> opened.Opened:
    """What `VectorIndex.open` opens, and raises."""
    now = None
    if not anew:
        try:
            now = opened.load(directory, asked)
        except FileNotFoundError:
            if dimension is None:
                raise FileNotFoundError(
                    f"there is no index in {directory.parent}. Give a dimension to make one."
                ) from None
    if now is None:
        now = _make(directory, dimension, metric or "cosine", asked, anew)
    for field, wanted in (("dimension", dimension), ("metric", metric)):
        found = getattr(now.view.manifest, field)
        if wanted is not None and wanted != found:
            opened.close(now)
            raise IndexMismatchError(str(directory.parent), field, str(found), str(wanted))
    return now


def copy(view: View, target: Path, asked: str) -> None:
    """Write what can be found in a view into another index's directory, in place of all there."""
    with locked(target):
        try:
            commit = Manifest.read(target).commit
        except (FileNotFoundError, IndexDamagedError):
            commit = 0
        like = Manifest(view.manifest.dimension, view.manifest.metric, "", commit)
        manifest = write_whole(target, like, writing.entries_of(view), asked)
        writing.sweep(target, manifest)


def _make(
    directory: Path, dimension: int | None, metric: str, asked: str, anew: bool
) -> opened.Opened:
    """Make an index with nothing in it; one that another process has just made is opened.

    `anew` replaces what is there. Raises `IndexEntryError` where there can be no such index.
    """
    if dimension is None or dimension < 1 or metric not in ("cosine", "dot"):
        raise IndexEntryError(
            None,
            f"an index of dimension {dimension} and metric {metric!r} cannot be made",
            "Give a dimension above 0, and cosine or dot.",
        )
    with locked(directory):
        commit = 0
        try:
            there = Manifest.read(directory)
            if not anew:
                return opened.load(directory, asked)  # another process was quicker
            commit = there.commit
        except (FileNotFoundError, IndexDamagedError):
            pass
        like = Manifest(dimension, metric, "", commit)
        writing.sweep(directory, write_whole(directory, like, (), asked))
        return opened.load(directory, asked)


def write_whole(
    directory: Path, like: Manifest, batches: Iterable[Entries], asked: str
) -> Manifest:
    """Write a generation and its structure, and make it what the index holds."""
    new = writing.write_generation(directory, like, batches)
    try:
        view = View.load(directory, new)
        if len(view.ids) < new.rows:
            twice = int(view.row_ids[view.dead[0]])
            raise IndexEntryError(twice, "it is given more than once", "Give every id once.")
        choice = choose(asked, new.rows, new.dimension)
        opened.close(structures.make(choice, directory, view)[0])
    except BaseException:
        writing.discard(directory, new.generation)
        raise
    return new.write(directory)  # an interrupt from here on may come after the manifest names it


@contextmanager
def locked(directory: Path, timeout: float | None = None) -> Iterator[None]:
    """While no other process changes the index in `directory`; see `machine_lock`.

    `timeout` is in seconds; None is `default_lock_timeout`.
    """
    # By those who write: it brings the sockets with it.
    from pytest_embedcache.models.locking import default_lock_timeout, machine_lock

    timeout = default_lock_timeout() if timeout is None else timeout
    with machine_lock(directory / "lock", f"the index {directory.parent}", timeout=timeout):
        yield
