"""Making an index, or making it anew, while the old one answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from pytest_embedcache.errors import IndexDamagedError, SemanticIndexError
from pytest_embedcache.search.semantic.build import Build, encoded, note_model
from pytest_embedcache.search.semantic.entries import EntryFile
from pytest_embedcache.search.semantic.entry import Entry

if TYPE_CHECKING:
    from pytest_embedcache.search.semantic.asking import QueryModel
    from pytest_embedcache.search.semantic.builds import Builds
    from pytest_embedcache.search.semantic.opened import Opened

__all__ = ["Progress", "build_from", "make_empty", "rebuild"]

#: Told how many entries are done.
Progress = Callable[[int], object]

#: Texts that are encoded and written together.
_CHUNK = 1024


def make_empty(builds: Builds) -> None:
    """Let there be an empty index, unless there is one by now."""
    with builds.building() as directory:
        Build(directory, None, None, new=True).close()
        builds.publish_first(directory)


def build_from(
    opened: Opened, model: QueryModel, entries: Iterable[Entry], progress: Progress | None
) -> int:
    """Make a build of `entries` and let it answer; returns how many there are."""
    rest = iter(entries)
    done = 0
    builds = opened.builds
    with builds.building() as directory:
        build = Build(directory, None, opened.vector_backend, new=True)
        try:
            while chunk := list(islice(rest, _CHUNK)):
                vectors = encoded(model, [entry.text for entry in chunk])
                with build.entries.writing() as writing:
                    if vectors[0] is not None:
                        note_model(writing, builds.path, model, vectors[0])
                    writing.add(chunk, vectors)
                done += len(chunk)
                if progress is not None:
                    progress(done)
            build.vectors.current()
        finally:
            build.close()
        with _no_writers(builds):
            builds.publish(directory)
    return done


def rebuild(opened: Opened, model: QueryModel, progress: Progress | None) -> int:
    """Make a build of the texts of the one that answers; returns how many there are."""
    old, builds = opened.current(), opened.builds
    with builds.building() as directory:
        new = Build(directory, None, opened.vector_backend, new=True)
        try:
            since = _replay(old, new, model, builds, 0, progress)
            new.vectors.current()
            with old.entries.writing():  # whoever wants to change it waits for the new one
                if builds.stamp() != old.stamp:
                    raise SemanticIndexError(
                        str(builds.path),
                        "another build has taken its place meanwhile",
                        "See whether that one is what was wanted; else rebuild again.",
                    )
                _replay(old, new, model, builds, since, None)
                new.vectors.current()
                count = new.entries.count()
                new.close()
                builds.publish(directory)
        finally:
            new.close()
    return count


def _replay(
    old: Build, new: Build, model: QueryModel, builds: Builds, since: int, progress: Progress | None
) -> int:
    """Do to `new` what was done to `old` after the change `since`; returns the last change."""
    done = 0
    while True:
        since, last, removed, rows = old.entries.rewritten(since)
        vectors = model.documents([row.text for row in rows])
        if vectors is None:
            raise SemanticIndexError(
                str(builds.path),
                f"it cannot be made anew without its model ({model.why_none})",
                "It stays as it is, and answers.",
            )
        with new.entries.writing() as writing:
            writing.remove_numbers(removed)
            if rows:
                note_model(writing, builds.path, model, vectors[0])
            for row, vector in zip(rows, vectors, strict=True):
                if not writing.replace(row.number, row, vector):
                    writing.add([row], [vector], [row.number])
            writing.number_after(old.entries.last_number())  # of an entry that is gone, too
        done += len(rows)
        if progress is not None:
            progress(done)
        if since == last:
            return since


@contextmanager
def _no_writers(builds: Builds) -> Iterator[None]:
    """While nobody can change the build that answers, should it be sound."""
    while True:
        try:
            current = builds.current()
            entries = None if current is None else EntryFile(current / "entries.sqlite3")
        except (FileNotFoundError, IndexDamagedError):
            current = entries = None
        if entries is None:
            yield
            return
        try:
            with entries.writing():
                if builds.current() == current:
                    yield
                    return
        finally:
            entries.close()
