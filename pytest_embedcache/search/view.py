"""What an index holds at one commit, mapped into memory; it never changes."""

from __future__ import annotations

import functools
import mmap
from pathlib import Path
from typing import Self

import numpy as np

from pytest_embedcache.search.manifest import Manifest, damaged

__all__ = ["View"]


class View:
    """The rows and ids of one commit.

    Attributes:
        manifest: What it is a view of.
        matrix: All rows, float32, shape (rows, dimension), read-only and not in memory before use.
        row_ids: The id of each row: int64, shape (rows,).
        norms: The length of each row: float64, shape (rows,).
        ids: The ids that can be found, ascending: int64, shape (n,).
        rows: Their rows: int64, shape (n,).
        dead: The rows that are no id's any more: int64.
        inverse: What makes a row one of length 1, and 0 for a row of zeros: float32, shape (rows,).
    """

    def __init__(
        self,
        manifest: Manifest,
        records: np.ndarray,
        matrix: np.ndarray,
        mapped: mmap.mmap | None = None,
    ) -> None:
        self.manifest = manifest
        self._mapped = mapped
        self.matrix = matrix
        is_row = records["norm"] >= 0
        rows = records if is_row.all() else records[is_row]
        self.row_ids = np.ascontiguousarray(rows["id"])
        self.norms = np.ascontiguousarray(rows["norm"])
        if len(rows) == len(records) and (np.diff(self.row_ids) > 0).all():
            self.ids, self.rows = self.row_ids, np.arange(len(rows))
            self.dead = np.empty(0, np.int64)
        else:
            self._replay(records, is_row)
        with np.errstate(divide="ignore"):
            inverse = np.divide(1.0, self.norms, dtype=np.float64)
        inverse[self.norms == 0] = 0.0
        self.inverse = inverse.astype(np.float32)

    def _replay(self, records: np.ndarray, is_row: np.ndarray) -> None:
        # Stable, so of each id the last record comes last; quick, since most of it is in order.
        order = np.argsort(records["id"], kind="stable")
        ids = records["id"][order]
        last = np.append(ids[1:] != ids[:-1], True) if len(ids) else np.empty(0, bool)
        kept = order[last]
        kept = kept[is_row[kept]]
        self.ids = np.ascontiguousarray(records["id"][kept])
        self.rows = (np.cumsum(is_row) - 1)[kept]
        alive = np.zeros(len(self.row_ids), bool)
        alive[self.rows] = True
        self.dead = np.flatnonzero(~alive)

    @classmethod
    def load(cls, directory: Path, manifest: Manifest) -> Self:
        """Map what a manifest names.

        Raises `IndexDamagedError`; `FileNotFoundError` also where a rebuild has replaced it.
        """
        records = manifest.read_log(directory)
        if int((records["norm"] >= 0).sum()) != manifest.rows:
            raise damaged(manifest.log_path(directory), "it is not the log of these rows")
        shape = (manifest.rows, manifest.dimension)
        if not manifest.rows:
            return cls(manifest, records, np.empty(shape, np.float32))
        path = manifest.rows_path(directory)
        with path.open("rb") as stream:
            if stream.seek(0, 2) < manifest.rows_bytes:
                raise damaged(path, "it was cut off")
            mapped = mmap.mmap(stream.fileno(), manifest.rows_bytes, access=mmap.ACCESS_READ)
        return cls(manifest, records, np.frombuffer(mapped, np.float32).reshape(shape), mapped)

    def give_back(self) -> None:
        """Let the pages of the rows go that are in memory; they come back when they are read.

        The file's pages may be as large as 2 MiB, of which a dozen rows then hold two dozen.
        """
        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)

    @functools.cached_property
    def alive(self) -> np.ndarray:
        """Whether each row is an id's: bool, shape (rows,)."""
        alive = np.ones(len(self.row_ids), bool)
        alive[self.dead] = False
        return alive

    @functools.cached_property
    def longest(self) -> float:
        """The length of the longest row."""
        return float(self.norms.max(initial=0.0))

    def find(self, ids: np.ndarray) -> np.ndarray:
        """The row of each of `ids`, and -1 where it is not here: int64, of the same shape."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, self.rows[place], -1)

    def has(self, ids: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Whether each of `ids` is here with this vector, to the bit: bool, of the same shape."""
        rows = self.find(ids)
        found = rows >= 0
        here = self.matrix[rows[found]].view(np.uint32), vectors[found].view(np.uint32)
        found[found] = (here[0] == here[1]).all(1)
        return found
