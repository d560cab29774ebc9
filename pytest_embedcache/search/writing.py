"""Appending to an index's files, and writing them anew; the manifest comes last."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pytest_embedcache.files import make_directory
from pytest_embedcache.search.manifest import MANIFEST, RECORD, Manifest, stamp
from pytest_embedcache.search.vectors import Entries
from pytest_embedcache.search.view import View

__all__ = ["append", "entries_of", "sweep", "write_generation"]

#: Rows that a rebuild moves at a time.
_BATCH = 8192
_OURS = re.compile(r"\.?(rows|log|vec|graph)-[0-9a-f]{8}\..+")


def append(directory: Path, manifest: Manifest, entries: Entries, removed: np.ndarray) -> Manifest:
    """Append to the files of a manifest, and return one that names it, not yet written.

    What is there behind the manifest's end, from a writer that was killed, is overwritten.
    Raises `IndexDamagedError` where the rows are not those of the manifest.
    """
    if manifest.rows:
        manifest.check_rows(directory)  # the new stamp vouches for the old rows too
    records = np.empty(len(removed) + len(entries.ids), RECORD)
    records["id"] = np.concatenate([removed, entries.ids])
    records["norm"][: len(removed)] = -1.0
    records["norm"][len(removed) :] = entries.norms
    rows, log = manifest.rows_path(directory), manifest.log_path(directory)
    rows_crc = _extend(rows, manifest.rows_bytes, entries.vectors, manifest.rows_crc)
    log_crc = _extend(log, manifest.log_bytes, records, manifest.log_crc)
    return manifest._replace(
        rows=manifest.rows + len(entries.ids),
        records=manifest.records + len(records),
        rows_crc=rows_crc,
        log_crc=log_crc,
        rows_stamp=tuple(stamp(rows)),
    )


def _extend(path: Path, end: int, content: np.ndarray, crc: int) -> int:
    """Make `content` what follows the byte `end`; returns the checksum of all."""
    data = content.reshape(-1).view(np.uint8).data if content.size else b""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(handle, "r+b", buffering=0) as stream:
        if stream.seek(0, os.SEEK_END) != end:
            stream.truncate(end)
        stream.seek(end)
        written = 0
        while written < len(data):  # one call writes at most 2 GiB
            written += stream.write(data[written:])
        if data:
            os.fsync(stream.fileno())
    return zlib.crc32(data, crc)


def write_generation(directory: Path, like: Manifest, batches: Iterable[Entries]) -> Manifest:
    """Write a new generation, and return its manifest, not yet written."""
    make_directory(directory)
    new = Manifest(like.dimension, like.metric, os.urandom(4).hex(), like.commit)
    nothing = np.empty(0, np.int64)
    try:
        new = append(directory, new, Entries.none(like.dimension), nothing)
        for entries in batches:
            new = append(directory, new, entries, nothing)
    except BaseException:
        discard(directory, new.generation)
        raise
    return new


def entries_of(view: View) -> Iterator[Entries]:
    """What can be found, by ascending ids, in batches."""
    for first in range(0, len(view.ids), _BATCH):
        rows = view.rows[first : first + _BATCH]
        yield Entries(view.ids[first : first + _BATCH], view.matrix[rows], view.norms[rows])


def discard(directory: Path, generation: str) -> None:
    """Remove a generation that no manifest names, as far as the system lets us."""
    for path in directory.glob(f"*-{generation}.*"):
        with contextlib.suppress(OSError):  # Windows keeps what somebody has mapped
            path.unlink()


def sweep(directory: Path, manifest: Manifest) -> None:
    """Remove what killed writers and earlier generations left. The lock is held."""
    generations = [path for path in directory.glob("*-*.*") if _OURS.fullmatch(path.name)]
    for path in [*generations, *directory.glob(f".{MANIFEST}.*.tmp")]:
        if f"-{manifest.generation}." not in path.name:
            with contextlib.suppress(OSError):
                path.unlink()
