"""The file that says what an index holds; what it does not name is not there.

A directory of an index holds, under the format's version:

    index.json              this manifest; replacing it is the one step in which a change happens
    rows-<generation>.f32   the vectors, row after row, only ever appended to
    log-<generation>.bin    which id each row belongs to, and what was removed, likewise
    *-<generation>.*        what backends made of the rows, and can make again
    lock                    held by the one process that changes something

A killed writer leaves bytes behind the end that the manifest names, or files of a generation that
it does not name. Nobody reads either, and the next writer removes them.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from pytest_embedcache.errors import IndexDamagedError
from pytest_embedcache.files import FORMAT, write_atomically

__all__ = ["MANIFEST", "RECORD", "Manifest", "damaged", "directory_of", "stamp"]

MANIFEST = "index.json"
#: An entry of the log: the next row is this id's, and so long; or, with a length below 0, the id
#: is removed. Of an id with several entries the last one holds.
RECORD = np.dtype([("id", "<i8"), ("norm", "<f8")])
#: Bytes that are read at a time where a file is checked.
_PIECE = 1 << 22
#: The file's length goes round in so many steps, so that its time alone need not tell two apart.
_LENGTHS = 256
#: More than the fields ever take: the length tells of the commit alone.
_WIDTH = 1024


def directory_of(path: str | os.PathLike[str]) -> Path:
    """Where the files of the index in `path` lie: no version of the format touches another's."""
    return Path(os.path.abspath(os.path.expanduser(path))) / FORMAT


def damaged(path: Path, reason: str) -> IndexDamagedError:
    """The error, with the way out."""
    return IndexDamagedError(
        str(path),
        reason,
        "Put back a copy that save() made, or begin anew with VectorIndex.open(…, dimension=…, "
        "anew=True) and add the vectors again; those of texts are in the cache.",
    )


def stamp(path: Path) -> list[int]:
    """Length, time of the last change (ns) and inode: as long as they stay, so does the content."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


class Manifest(NamedTuple):
    """What an index holds.

    Attributes:
        dimension: Numbers in a vector.
        metric: `cosine` or `dot`.
        generation: Part of its files' names; a rebuild makes a new one.
        commit: Counts the changes.
        rows: Vectors in the file, also those of no use any more.
        records: Entries of the log.
        rows_crc: CRC-32 of the rows.
        log_crc: CRC-32 of the records.
        rows_stamp: The file of rows as its last writer left it; see `stamp`.
    """

    dimension: int
    metric: str
    generation: str
    commit: int = 0
    rows: int = 0
    records: int = 0
    rows_crc: int = 0
    log_crc: int = 0
    rows_stamp: tuple[int, ...] = ()

    @property
    def rows_bytes(self) -> int:
        return self.rows * self.dimension * 4

    @property
    def log_bytes(self) -> int:
        return self.records * RECORD.itemsize

    @property
    def state(self) -> str:
        return f"{self.generation}-{self.commit}"

    def rows_path(self, directory: Path) -> Path:
        return directory / f"rows-{self.generation}.f32"

    def log_path(self, directory: Path) -> Path:
        return directory / f"log-{self.generation}.bin"

    def write(self, directory: Path) -> Self:
        """Make this what the index holds, as its next commit, which is returned."""
        whole = self._replace(commit=self.commit + 1)
        fields = json.dumps(whole._asdict(), indent=1, sort_keys=True)
        text = f'{{"check": {zlib.crc32(fields.encode())}, "index":\n{fields}}}'
        padding = " " * (whole.commit % _LENGTHS)
        content = (padding + text.rjust(_WIDTH) + "\n").encode()
        # Lasting, since what the manifest before it names may be removed next.
        write_atomically(directory / MANIFEST, content, lasting=True)
        return whole

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises `FileNotFoundError` where there is no index, `IndexDamagedError`."""
        path = directory / MANIFEST
        try:
            found: Any = json.loads(path.read_bytes())
            fields = json.dumps(found["index"], indent=1, sort_keys=True)
            if found["check"] != zlib.crc32(fields.encode()):
                raise ValueError("its checksum is another")
            return cls(**found["index"] | {"rows_stamp": tuple(found["index"]["rows_stamp"])})
        except FileNotFoundError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise damaged(path, f"it is no manifest ({error})") from error

    def check_rows(self, directory: Path) -> None:
        """Look whether the rows are those that were written: all of them where the file changed.

        Raises `IndexDamagedError`, or `FileNotFoundError`.
        """
        path = self.rows_path(directory)
        now = stamp(path)
        if now[0] < self.rows_bytes:
            raise damaged(path, f"it has {now[0]} of {self.rows_bytes} bytes")
        if tuple(now) == self.rows_stamp:
            return
        left, found = self.rows_bytes, 0
        with path.open("rb") as stream:
            while left and (piece := stream.read(min(_PIECE, left))):
                found = zlib.crc32(piece, found)
                left -= len(piece)
        if left or found != self.rows_crc:
            raise damaged(path, "its checksum is another")

    def read_log(self, directory: Path) -> np.ndarray:
        """The records, shape (records,), of dtype `RECORD`; raises as `check_rows`."""
        path = self.log_path(directory)
        with path.open("rb") as stream:
            content = stream.read(self.log_bytes)
        if len(content) < self.log_bytes:
            raise damaged(path, f"it has {len(content)} of {self.log_bytes} bytes")
        if zlib.crc32(content) != self.log_crc:
            raise damaged(path, "its checksum is another")
        return np.frombuffer(content, RECORD)
