"""What a weights file holds: its tensors' identity, hashed once per machine.

Only the standard library is used. A safetensors file is an 8-byte little-endian header length, a
JSON header (name -> dtype, shape, data_offsets) and the tensors' bytes
(https://huggingface.co/docs/safetensors, "Format"). The header itself holds no weight values.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_embedcache import notices
from pytest_embedcache.encoding import canonical_json, digest
from pytest_embedcache.files import read_json, write_json

__all__ = ["DamagedWeightsError", "HashMemo", "WeightsHash", "read_header", "stat_key"]

#: A file younger than this may change again within the resolution of its time stamps.
SETTLED_AFTER_SECONDS = 2.0
#: The format's own bound on the header, in bytes; a longer one is a damaged file.
MAX_HEADER_BYTES = 100_000_000

StatKey = tuple[int, int, int, int]


class DamagedWeightsError(ValueError):
    """The file is not a whole safetensors file; the message says in which way."""


@dataclass(frozen=True)
class WeightsHash:
    """`sha256` of the file's bytes, and `tensors`, of its tensors alone (64 hex digits each)."""

    sha256: str
    tensors: str


def stat_key(path: str | os.PathLike[str]) -> StatKey:
    """(size, mtime_ns, ctime_ns, inode): equal as long as nobody wrote to the file."""
    found = os.stat(path)
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the tensors' table and the offset of the first tensor's byte.

    Raises `DamagedWeightsError` where header and file size do not agree.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise DamagedWeightsError(f"{path.name} is cut off in its header ({size} bytes)")
        try:
            table = json.loads(stream.read(length))
            table.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in table.values()), default=0)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
            raise DamagedWeightsError(f"{path.name} has an unreadable header") from error
    if size != 8 + length + end:
        raise DamagedWeightsError(
            f"{path.name} has {size} bytes where its header promises {8 + length + end}"
        )
    return table, 8 + length


def _hash_file(path: Path) -> WeightsHash:
    with path.open("rb") as stream:
        whole = hashlib.file_digest(stream, "sha256").hexdigest()
        if path.suffix != ".safetensors":
            return WeightsHash(whole, whole)
        table, start = read_header(path)
        tensors = hashlib.sha256(b"embedcache-tensors-1")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            view = memoryview(content)
            try:
                for name in sorted(table):
                    first, last = table[name]["data_offsets"]
                    shape = [table[name]["dtype"], table[name]["shape"], last - first]
                    # The length-prefixed head makes the concatenation injective.
                    tensors.update(digest(name, canonical_json(shape)).encode())
                    tensors.update(view[start + first : start + last])
            finally:
                view.release()
    return WeightsHash(whole, tensors.hexdigest())


class HashMemo:
    """Remembers the hashes of weights files by (real path, size, mtime_ns, ctime_ns, inode).

    `directory` is the versioned cache directory, or None to remember in memory only. `clock`
    returns the time in seconds since the epoch. `hashed` counts the files that were really read.
    """

    def __init__(self, directory: Path | None, *, clock: Any = time.time) -> None:
        self._directory = directory / "weights" if directory is not None else None
        self._clock = clock
        self._known: dict[str, tuple[StatKey, WeightsHash]] = {}
        self.hashed = 0

    def __call__(self, path: Path) -> WeightsHash:
        """Return the file's hashes, read anew only if the file is not known as it stands."""
        real = os.path.realpath(path)
        for _ in range(3):
            before = stat_key(real)
            known = self._known.get(real) or self._read(real)
            if known is not None and known[0] == before:
                self._known[real] = known
                return known[1]
            found = _hash_file(Path(real))
            self.hashed += 1
            if stat_key(real) == before:  # else somebody wrote while we read
                self._remember(real, before, found)
                return found
        raise DamagedWeightsError(f"{real} keeps changing while it is read")

    def _remember(self, real: str, key: StatKey, found: WeightsHash) -> None:
        youngest = max(key[1], key[2]) / 1e9
        if self._clock() - youngest < SETTLED_AFTER_SECONDS:
            return
        self._known[real] = (key, found)
        if self._directory is None:
            return
        try:
            write_json(self._file(real), {"path": real, "stat": list(key), **asdict(found)})
        except OSError as error:
            notices.degraded(f"cannot remember hashes below {self._directory}: {error.strerror}")

    def _read(self, real: str) -> tuple[StatKey, WeightsHash] | None:
        if self._directory is None:
            return None
        stored = read_json(self._file(real))
        try:
            if stored is None or stored["path"] != real:
                return None
            size, mtime, ctime, inode = map(int, stored["stat"])
            return (size, mtime, ctime, inode), WeightsHash(stored["sha256"], stored["tensors"])
        except (KeyError, TypeError, ValueError):
            return None

    def _file(self, real: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{digest(real)[:32]}.json"
