"""Which recordings a complete run used: what it did not use can go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from pytest_embedcache.encoding import digest
from pytest_embedcache.files import read_json, write_json
from pytest_embedcache.vectors.recording_header import HEADER
from pytest_embedcache.vectors.recordings import ModelFolder, RecordingsStore

__all__ = ["last_noted", "last_used", "namesakes", "prune", "remember_used", "unused"]

#: Keys as hexadecimal digits, by fingerprint.
Used = Mapping[str, AbstractSet[str]]


def remember_used(cache: Path, recordings: Path, used: Used) -> None:
    """Note what a complete run used; a note that cannot be written is none."""
    with contextlib.suppress(OSError):
        write_json(_note(cache, recordings), {name: sorted(keys) for name, keys in used.items()})


def last_used(cache: Path, recordings: Path) -> Used | None:
    """What the last complete run used; None where there was none."""
    found = read_json(_note(cache, recordings))
    if not isinstance(found, dict):
        return None
    return {name: set(keys) for name, keys in found.items()}


def last_noted(cache: Path, recordings: Path) -> int:
    """When that was noted, in nanoseconds as files have them. What is younger was not there."""
    return os.stat(_note(cache, recordings)).st_mtime_ns


def unused(recordings: Path, used: Used) -> Iterator[tuple[ModelFolder, bytes]]:
    """The recordings that are not in `used`. Raises `RecordingError` for a damaged header."""
    for fingerprint, folder in RecordingsStore(recordings, strict=True).folders().items():
        keys = used.get(fingerprint, set())
        for key in folder.recorded():
            if key.hex() not in keys:
                yield folder, key


def prune(recordings: Path, used: Used) -> int:
    """Remove the recordings that are not in `used`, and models without any; returns how many."""
    dropped = 0
    folders = set()
    for folder, key in unused(recordings, used):
        os.unlink(folder.file(key))
        folders.add(folder.path)
        dropped += 1
    for path in folders:
        for shard in path.glob("??"):
            with contextlib.suppress(OSError):  # it is not empty
                shard.rmdir()
        if [entry.name for entry in path.iterdir()] == [HEADER]:
            (path / HEADER).unlink()
            path.rmdir()
    return dropped


def namesakes(recordings: Path, used: Used) -> list[Path]:
    """The folders of models that nobody used, under a name that a used model has, too.

    As after other weights came under one name. Without weights, or a pinned commit, replay cannot
    tell the two apart.
    """
    folders = RecordingsStore(recordings, strict=False).folders().values()
    local = [(folder, folder.header) for folder in folders if folder.header.remote is None]
    names = {(h.name, h.dtype, h.form) for _, h in local if h.fingerprint in used}
    return [
        folder.path
        for folder, h in local
        if h.fingerprint not in used and (h.name, h.dtype, h.form) in names
    ]


def _note(cache: Path, recordings: Path) -> Path:
    return cache / "recordings" / f"used-{digest(os.path.realpath(recordings))[:32]}.json"
