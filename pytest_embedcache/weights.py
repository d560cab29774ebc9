"""What a weights file holds: its tensors' identity, hashed once per machine.

Only the standard library is used. A safetensors file is an 8-byte little-endian header length, a
JSON header (name -> dtype, shape, data_offsets) and the tensors' bytes
(https://huggingface.co/docs/safetensors, "Format"). The header itself holds no weight values.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pytest_embedcache.encoding import canonical_json, digest, is_hex
from pytest_embedcache.files import read_json, say_unusable, write_json

__all__ = [
    "DamagedWeightsError",
    "HashMemo",
    "WeightsHash",
    "is_settled",
    "read_header",
    "stat_key",
]

#: A file younger than this may change again within the resolution of its time stamps.
SETTLED_AFTER_SECONDS = 2.0
#: The format's own bound on the header, in bytes; a longer one is a damaged file.
MAX_HEADER_BYTES = 100_000_000

StatKey = tuple[int, int, int, int]


class DamagedWeightsError(ValueError):
    """The file is not a whole safetensors file; the message says in which way."""


class WeightsHash(NamedTuple):
    """`sha256` of the file's bytes, and `tensors`, of its tensors alone (64 hex digits each)."""

    sha256: str
    tensors: str


def stat_key(path: str | os.PathLike[str]) -> StatKey:
    """(size, mtime_ns, ctime_ns, inode): equal as long as nobody wrote to the file."""
    found = os.stat(path)
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the tensors' table and the offset of the first tensor's byte.

    The table is for reading: whoever asks next, about the same file as it stands, gets it as well.
    Raises `DamagedWeightsError` where the header is none, or promises another file size.
    """
    global _last
    now, key = time.time(), stat_key(path)
    known = _last
    if known is not None and known[0] == (str(path), key):
        return known[1]
    found = _read_header(path, key[0])
    if is_settled(key, now):
        _last = ((str(path), key), found)
    return found


#: A model is looked at from several sides, one after the other: the last header that was read.
_last: tuple[tuple[str, StatKey], tuple[dict[str, dict[str, Any]], int]] | None = None


def is_settled(key: StatKey, now: float) -> bool:
    """Whether a file with these time stamps, seen at `now`, cannot be changed under them."""
    return now - max(key[1], key[2]) / 1e9 >= SETTLED_AFTER_SECONDS


def _read_header(path: Path, size: int) -> tuple[dict[str, dict[str, Any]], int]:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise DamagedWeightsError(f"{path.name} is cut off in its header ({size} bytes)")
        try:
            table = json.loads(stream.read(length))
            table.pop("__metadata__", None)
            end = max((_end_of(entry) for entry in table.values()), default=0)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise DamagedWeightsError(f"{path.name} has an unreadable header") from error
    if size != 8 + length + end:
        raise DamagedWeightsError(
            f"{path.name} has {size} bytes where its header promises {8 + length + end}"
        )
    return table, 8 + length


def _end_of(entry: dict[str, Any]) -> int:
    """Where a tensor's bytes end; an error where its row of the table is not one."""
    first, last = entry["data_offsets"]
    if not (type(first) is type(last) is int and 0 <= first <= last):
        raise ValueError(f"data_offsets {first!r} to {last!r}")
    if not (isinstance(entry["dtype"], str) and isinstance(entry["shape"], list)):
        raise TypeError("dtype or shape")
    return int(last)


def _hash_file(path: Path, *, safetensors: bool) -> WeightsHash:
    with path.open("rb") as stream:
        whole = hashlib.file_digest(stream, "sha256").hexdigest()
        if not safetensors:
            return WeightsHash(whole, whole)
        table, start = read_header(path)
        tensors = hashlib.sha256(b"embedcache-tensors-1")
        for name in sorted(table):
            first, last = table[name]["data_offsets"]
            shape = [table[name]["dtype"], table[name]["shape"], last - first]
            # The length-prefixed head makes the concatenation injective.
            tensors.update(digest(name, canonical_json(shape)).encode())
            stream.seek(start + first)
            _feed(tensors, stream, last - first)
    return WeightsHash(whole, tensors.hexdigest())


def _feed(hasher: Any, stream: BinaryIO, count: int) -> None:
    # Read, not mapped: a mapped file that somebody cuts off meanwhile kills the process (SIGBUS).
    while count:
        chunk = stream.read(min(count, 1 << 20))
        if not chunk:
            raise DamagedWeightsError(f"{Path(stream.name).name} was cut off while it was read")
        hasher.update(chunk)
        count -= len(chunk)


class HashMemo:
    """Remembers the hashes of weights files by (real path, size, mtime_ns, ctime_ns, inode).

    `directory` is the versioned cache directory, or None to remember in memory only. `clock`
    returns the time in seconds since the epoch. `hashed` counts the files that were really read.
    """

    def __init__(self, directory: Path | None, *, clock: Any = time.time) -> None:
        self._directory = directory / "weights" if directory is not None else None
        self.clock = clock
        self._known: dict[str, tuple[StatKey, WeightsHash]] = {}
        self.hashed = 0

    def __call__(self, path: Path) -> WeightsHash:
        """Return the file's hashes, read anew only if the file is not known as it stands."""
        real = os.path.realpath(path)
        # By the name that was asked for: the Hub cache's blobs, to which it links, have no suffix.
        safetensors = path.suffix == ".safetensors"
        label = f"{real} ({'tensors' if safetensors else 'bytes'})"
        for _ in range(3):
            # Before the file is read: whoever writes after that changes the time stamps of a file
            # that had settled by then, however long the reading takes.
            now = self.clock()
            before = stat_key(real)
            known = self._known.get(label) or self._read(label)
            if known is not None and known[0] == before:
                self._known[label] = known
                return known[1]
            found = _hash_file(Path(real), safetensors=safetensors)
            self.hashed += 1
            if stat_key(real) == before:  # else somebody wrote while we read
                if is_settled(before, now):
                    self._remember(label, before, found)
                return found
        raise DamagedWeightsError(f"{real} keeps changing while it is read")

    def _remember(self, label: str, key: StatKey, found: WeightsHash) -> None:
        self._known[label] = (key, found)
        if self._directory is None:
            return
        try:
            write_json(self._file(label), {"file": label, "stat": list(key), **found._asdict()})
        except OSError as error:
            say_unusable(self._directory.parent, error)

    def _read(self, label: str) -> tuple[StatKey, WeightsHash] | None:
        if self._directory is None:
            return None
        stored = read_json(self._file(label))
        try:
            if stored is None or stored["file"] != label:
                return None
            size, mtime, ctime, inode = map(int, stored["stat"])
            found = WeightsHash(stored["sha256"], stored["tensors"])
            if not all(is_hex(hashed, 64) for hashed in found):
                return None
            return (size, mtime, ctime, inode), found
        except (KeyError, TypeError, ValueError):
            return None

    def _file(self, label: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{digest(label)[:32]}.json"
