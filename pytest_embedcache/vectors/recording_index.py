"""An index of recorded files in the cache directory: 10,000 of them are not parsed at each run.

A file's vector is taken from here as long as its size, times and inode are those with which it was
read and checked; the index holds nothing that the files do not.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pytest_embedcache.files import write_atomically

__all__ = ["RecordingIndex"]

#: A file changed as recently as this can change again without its times showing it.
_YOUNG_NS = 2 * 10**9

Stat = tuple[int, int, int]


class RecordingIndex:
    """Vectors of one folder's files by key, each with the stat of its file then.

    Args:
        file: Where it is kept; None keeps nothing.
        clock: Returns seconds since the epoch.
    """

    def __init__(self, file: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._known: dict[bytes, tuple[Stat, np.ndarray]] = _read(file)
        self._learnt: dict[bytes, tuple[Stat, np.ndarray]] = {}

    def get(self, key: bytes, stat: os.stat_result) -> np.ndarray | None:
        """The vector of the file of `key`, if the file is as it was: 1-D, float32, read-only."""
        known = self._known.get(key)
        if known is not None and known[0] == _as_key(stat):
            return known[1]
        return None

    def learn(self, key: bytes, stat: os.stat_result, vector: np.ndarray) -> None:
        """Note a vector that was read and checked; `stat` was taken before it was read."""
        if self._clock() * 10**9 - stat.st_mtime_ns > _YOUNG_NS:
            self._known[key] = self._learnt[key] = (_as_key(stat), vector)

    def save(self) -> None:
        """Write what was learnt, beside what other processes wrote meanwhile."""
        if self._file is None or not self._learnt:
            return
        everything = {**_read(self._file), **self._learnt}
        self._learnt = {}
        vectors = [vector for _, vector in everything.values()]
        with io.BytesIO() as stream, contextlib.suppress(OSError):  # it only saves time
            np.savez(
                stream,
                keys=np.frombuffer(b"".join(everything), np.uint8).reshape(-1, 32),
                stats=np.array([stat for stat, _ in everything.values()], np.uint64),
                sizes=np.array([len(vector) for vector in vectors], np.int64),
                data=np.concatenate(vectors).astype("<f4"),
            )
            write_atomically(self._file, stream.getvalue())


def _as_key(stat: os.stat_result) -> Stat:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _read(file: Path | None) -> dict[bytes, tuple[Stat, np.ndarray]]:
    if file is None:
        return {}
    try:
        # A zip: its checksums are looked at. Opened here, since numpy leaves open what is none.
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as found:
            keys, stats = found["keys"].tobytes(), found["stats"].tolist()
            ends = np.cumsum(found["sizes"]).tolist()
            data = found["data"].astype(np.float32, copy=False)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return {}
    data.flags.writeable = False
    if len(keys) != 32 * len(stats) or len(ends) != len(stats) or (ends and ends[-1] != len(data)):
        return {}
    starts = [0, *ends]
    return {
        keys[32 * i : 32 * i + 32]: ((stat[0], stat[1], stat[2]), data[starts[i] : ends[i]])
        for i, stat in enumerate(stats)
    }
