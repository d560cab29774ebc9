"""`RecordingsStore`: the vectors in a user's repository, to be read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pytest_embedcache import notices
from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import RecordingError
from pytest_embedcache.vectors.counts import Counts
from pytest_embedcache.vectors.recording_file import (
    Recording,
    name_of,
    read_recording,
    relative_path,
)
from pytest_embedcache.vectors.recording_header import HEADER, Header, headers_in
from pytest_embedcache.vectors.recording_index import RecordingIndex
from pytest_embedcache.vectors.store import StoreStats

__all__ = ["ModelFolder", "RecordingsStore"]


class ModelFolder:
    """The recordings of one model: a header, and a file for each text.

    Raises `RecordingError` where the header is damaged.
    """

    def __init__(self, path: Path, index: Path | None = None) -> None:
        self.path = path
        self.header = Header.read(path / HEADER)
        name = digest(os.path.realpath(path))[:32]
        self.index = RecordingIndex(index / f"{name}.npz" if index else None)
        self._prefix = f"{path}{os.sep}"

    def vector(self, key: bytes) -> np.ndarray | None:
        """The vector of `key`, None where it is not recorded. Raises `RecordingError`."""
        path = self._prefix + relative_path(key)
        try:
            stat = os.stat(path)
            found = self.index.get(key, stat)
            if found is None:
                found = read_recording(path, self.header.fingerprint, key).vector
                self.index.learn(key, stat, found)
        except FileNotFoundError:
            return None
        return found

    def recorded(self) -> Iterator[bytes]:
        """The keys of all its files, damaged ones too."""
        for file in sorted(self.path.glob("??/*")):
            if (key := name_of(file)) is not None:
                yield key

    def read(self, key: bytes) -> Recording:
        """A recording with its text. Raises `RecordingError` and `FileNotFoundError`."""
        return read_recording(self.file(key), self.header.fingerprint, key)

    def file(self, key: bytes) -> str:
        """The path of a key's file."""
        return self._prefix + relative_path(key)


class RecordingsStore:
    """A `VectorStore` that reads recordings, and takes no vectors: those go to a spool.

    `put_many`, `delete_many` and `clear` do nothing; a repository is changed by recording alone.

    Args:
        directory: The recordings, a folder for each model in it.
        index: Directory for indexes, in the cache directory; None does without.
        strict: Whether a damaged file is an error; else it is a miss, and said once.

    Attributes:
        used: The keys that were found, by fingerprint.
        missed: Those that were not.
    """

    name = "recordings"
    #: For a `TieredStore`: nothing is promoted to here.
    read_only = True

    def __init__(
        self, directory: str | os.PathLike[str], *, index: Path | None = None, strict: bool
    ) -> None:
        self.directory = Path(directory)
        self.used: dict[str, set[bytes]] = {}
        self.missed: dict[str, set[bytes]] = {}
        self._index = index
        self._strict = strict
        self._counts = Counts()
        self._found: dict[str, ModelFolder] | None = None

    def folders(self) -> dict[str, ModelFolder]:
        """The recorded models by fingerprint, as they were when they were first asked for.

        Raises `RecordingError` for a damaged header, where that is an error.
        """
        if self._found is None:
            found: dict[str, ModelFolder] = {}
            for path in headers_in(self.directory):
                try:
                    folder = ModelFolder(path, self._index)
                except RecordingError as error:
                    self._say(error)
                else:
                    found[folder.header.fingerprint] = folder
            self._found = found
        return self._found

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """As the protocol says; a `RecordingError` names a damaged file, where that is one."""
        folder = self.folders().get(fingerprint)
        found: dict[bytes, np.ndarray] = {}
        for key in keys if folder is not None else ():
            assert folder is not None
            try:
                vector = folder.vector(key)
            except RecordingError as error:
                self._counts.add(corrupt=1)
                self._say(error)
                continue
            if vector is not None:
                found[key] = vector
        self.used.setdefault(fingerprint, set()).update(found)
        if len(found) < len(keys):
            absent = (key for key in keys if key not in found)
            self.missed.setdefault(fingerprint, set()).update(absent)
        self._counts.add(hits=len(found), misses=len(keys) - len(found))
        return found

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        return {}

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        return 0

    def clear(self, fingerprint: str | None = None) -> int:
        return 0

    def stats(self) -> StoreStats:
        """Counts its files; `details` has them by model."""
        models: dict[str, int] = {}
        size = 0
        for folder in self.folders().values():
            files = [folder.file(key) for key in folder.recorded()]
            name = folder.header.name
            models[name] = models.get(name, 0) + len(files)
            size += sum(map(os.path.getsize, files))
        return StoreStats(
            entries=sum(models.values()),
            bytes=size,
            hits=self._counts["hits"],
            misses=self._counts["misses"],
            corrupt=self._counts["corrupt"],
            details={"directory": str(self.directory), "models": models},
        )

    def close(self) -> None:
        """Keep what was read in the index."""
        for folder in (self._found or {}).values():
            folder.index.save()

    def _say(self, error: RecordingError) -> None:
        if self._strict:
            raise error
        notices.degraded(f"recordings: {error}")
