"""New recordings on their way into the repository: each at once, all at the end of the run.

A spool is a directory in the cache directory, laid out like the recordings. Every process of a run
writes a file there as soon as it has a vector, so a worker that crashes has lost nothing, and one
process copies them into the recordings when the run is over.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pytest_embedcache import notices
from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import RecordingError, StoreError
from pytest_embedcache.files import make_directory
from pytest_embedcache.vectors.recording_file import Recording, relative_path
from pytest_embedcache.vectors.recording_header import HEADER, Header, headers_in
from pytest_embedcache.vectors.recordings import ModelFolder

__all__ = ["Merged", "Spool", "forget_killed", "merge", "spool_directory"]

_TEMPORARY = ".embedcache-*.tmp"
#: A temporary file of this age, in seconds, was left by a process that was killed.
_LEFT = 3600
#: A run of `rerecord` that has written nothing for this many seconds was killed.
_KILLED = 86400
_number = itertools.count()


def spool_directory(cache: Path, recordings: Path, run: str | None = None) -> Path:
    """Where the spool of these recordings is.

    Without `run` it is the one of `record`: a run that was killed left there what the next one
    need not compute again. `rerecord` computes everything, so each of its runs has its own.
    """
    place = cache / "spool" / digest(os.path.realpath(recordings))[:32]
    return place / ("record" if run is None else f"rerecord-{digest(run)[:16]}")


def forget_killed(cache: Path) -> int:
    """Remove the spools of runs of `rerecord` that were killed, of any recordings; how many.

    Nobody reads them: each run computes everything. Every write touches the directory itself.
    """
    removed = 0
    for left in (cache / "spool").glob("*/rerecord-*"):
        with contextlib.suppress(OSError):  # another run removes it, too
            if time.time() - left.stat().st_mtime > _KILLED:
                shutil.rmtree(left)
                removed += 1
    return removed


class Spool:
    """Writes recordings below `directory`; safe for any number of threads and processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, header: Header, key: bytes, recording: Recording) -> None:
        """Keep a recording. Raises `StoreError` where that cannot be done."""
        folder = self.directory / header.folder
        try:
            if not (folder / HEADER).exists():
                make_directory(folder)
                _publish(folder / HEADER, header.to_bytes(), self.directory, flush=False)
            file = folder / relative_path(key)
            # Not flushed to the disk, which takes longer than encoding: what a killed process has
            # written is there, and what a power failure tore is found out and computed again.
            _publish(file, recording.to_bytes(header.fingerprint), self.directory, flush=False)
        except OSError as error:
            raise StoreError(
                "recordings",
                str(self.directory),
                error.strerror or str(error),
                "Give a directory that can be written, with --embedcache-dir.",
            ) from error

    def folder(self, header: Header) -> ModelFolder | None:
        """What is here of a model, if anything is."""
        path = self.directory / header.folder
        return ModelFolder(path) if (path / HEADER).is_file() else None


@dataclass
class Merged:
    """What a merge did: recordings by the name of their model."""

    new: dict[str, int] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)


def merge(spool: Path, recordings: Path, *, replace: bool) -> Merged:
    """Move what is in the spool into the recordings; returns what was done.

    A recording that is there already stays, unless `replace` and it differs. Each file appears
    whole or not at all, so whoever is killed here has lost nothing, and can do it again.

    Raises:
        OSError: The recordings cannot be written; what was not moved is still in the spool.
    """
    done = Merged()
    for path in headers_in(spool):
        try:
            folder = ModelFolder(path)
        except RecordingError as error:
            notices.degraded(f"left out of the recordings: {error}")
            continue
        _merge_model(folder, recordings / folder.header.folder, replace, done)
        _remove_empty(path)
    with contextlib.suppress(OSError):
        spool.rmdir()
    for left in recordings.glob(_TEMPORARY):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT:
                left.unlink()
    return done


def _merge_model(source: ModelFolder, target: Path, replace: bool, done: Merged) -> None:
    header = target / HEADER
    wanted = source.header.to_bytes()
    if not header.exists() or (replace and header.read_bytes() != wanted):
        _publish(header, wanted, target.parent)
    for key in source.recorded():
        try:
            content = source.read(key).to_bytes(source.header.fingerprint)
        except RecordingError as error:
            notices.degraded(f"left out of the recordings: {error}")
            os.unlink(source.file(key))
            continue
        file = target / relative_path(key)
        there = _content(file)
        if there is None:
            count = done.new
        elif replace and there != content:
            count = done.replaced
        else:
            count = done.kept
        if count is not done.kept:
            _publish(file, content, target.parent)
        count[source.header.name] = count.get(source.header.name, 0) + 1
        with contextlib.suppress(FileNotFoundError):  # another run moves them, too
            os.unlink(source.file(key))


def _remove_empty(folder: Path) -> None:
    """Remove a model's folder from the spool, unless another run has just written there."""
    with contextlib.suppress(OSError):
        for shard in folder.glob("??"):
            shard.rmdir()
        (folder / HEADER).unlink()
        folder.rmdir()


def _content(file: Path) -> bytes | None:
    try:
        # Where git gives CRLF to text files, it takes them away again.
        return file.read_bytes().replace(b"\r\n", b"\n")
    except FileNotFoundError:
        return None


def _publish(path: Path, content: bytes, root: Path, *, flush: bool = True) -> None:
    """Write a file that appears whole, with the user's usual mode: it is for a repository.

    The temporary file is directly in `root`, on the same file system, where one that a killed
    process left is found.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{os.getpid()}-{threading.get_ident()}-{next(_number)}"
    temporary = root / f".embedcache-{name}.tmp"
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            if flush:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
