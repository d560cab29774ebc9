"""The entries of a semantic index, in one SQLite file, which is the truth about them."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pytest_embedcache.search.forked import OneConnection, is_left_alone
from pytest_embedcache.search.semantic import entries_schema
from pytest_embedcache.search.semantic.entries_writing import Writing, about
from pytest_embedcache.search.semantic.entry import Row, key_of, marks, parts
from pytest_embedcache.vectors import codec
from pytest_embedcache.vectors.sqlite_schema import roll_back, transaction

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Changes", "EntryFile"]

_T = TypeVar("_T")

#: Seconds to wait for another writer.
TIMEOUT = 30.0
#: Changes that are read at once: their vectors are in memory together.
STEP = 4096
_WORD = re.compile(r"\w+")
_COLUMNS = "id, text, metadata, number, changed"


class Changes(NamedTuple):
    """What happened after one change, up to and with another.

    Attributes:
        upto: The number of the last one that is in here.
        last: The number of the last one that there is.
        removed: Numbers of entries that are gone.
        vectors: Number -> float32 vector of shape (dimension,) of those that are new or changed.
        lacking: Numbers of those that have no vector, or a damaged one.
    """

    upto: int
    last: int
    removed: list[int]
    vectors: dict[int, np.ndarray]
    lacking: list[int]


class EntryFile(OneConnection):
    """The database at `path`; safe in threads, and beside other processes.

    Args:
        path: The file. It must exist; `EntryFile.create` makes it.
        timeout: Seconds to wait for another writer.
    """

    def __init__(self, path: Path, *, timeout: float = TIMEOUT) -> None:
        super().__init__(path)
        self._timeout = timeout
        self._depth = 0
        with self._used():
            pass  # what is damaged is found now

    @classmethod
    def create(cls, path: Path, *, timeout: float = TIMEOUT) -> EntryFile:
        """An empty one at `path`, where there is none yet."""
        entries_schema.create(path, timeout)
        return cls(path, timeout=timeout)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self.close()

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                if is_left_alone(self.path):
                    raise entries_schema.in_use_at_the_fork(self.path)
                self._connection = entries_schema.open_existing(self.path, self._timeout)
            connection: sqlite3.Connection = self._connection
            self._depth += 1
            try:
                yield connection
            except (sqlite3.Error, json.JSONDecodeError) as error:
                raise entries_schema.problem(self.path, error) from error
            finally:
                self._depth -= 1
                if not self._depth:  # who writes may read meanwhile
                    roll_back(connection)

    # ------------------------------------------------------------------------------ writing

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """One transaction: all that is done inside is there afterwards, or nothing."""
        with self._used() as connection, transaction(connection):
            writing = Writing(connection)
            yield writing
            writing.end()

    # ------------------------------------------------------------------------------ reading

    def about(self, name: str) -> Any:
        """What is noted about the whole index under `name`; None where nothing is."""
        with self._used() as connection:
            return about(connection, name)

    def followed(self) -> tuple[int, int, str | None]:
        """The last change, the one up to which the vector index follows, and its state then."""
        with self._used() as connection:
            if not connection.in_transaction:
                connection.execute("BEGIN")  # one moment for all of it
            sequence, applied, state = (
                about(connection, name) for name in ("sequence", "applied", "state")
            )
        return int(sequence), int(applied), state

    def changes(self, since: int) -> Changes:
        """What happened after the change `since`, `STEP` changes at most; 0 is the beginning.

        An entry that changed several times is in there once, where it changed last.
        """
        with self._used() as connection:
            if not connection.in_transaction:
                connection.execute("BEGIN")  # one moment for all of it
            last = int(about(connection, "sequence"))
            between = (since, min(since + STEP, last))
            removed = connection.execute(
                "SELECT number FROM removed WHERE changed > ? AND changed <= ?", between
            ).fetchall()
            found = connection.execute(
                "SELECT number, value FROM entries LEFT JOIN vectors USING (number)"
                " WHERE changed > ? AND changed <= ?",
                between,
            ).fetchall()
        vectors, damaged = codec.decode_many((key_of(number), value) for number, value in found)
        return Changes(
            between[1],
            last,
            [number for (number,) in removed],
            {int.from_bytes(key, "big"): vector for key, vector in vectors.items()},
            [int.from_bytes(key, "big") for key in damaged],
        )

    def rewritten(self, since: int) -> tuple[int, int, list[int], list[Row]]:
        """The same with entries in the place of their vectors: upto, last, removed, entries."""
        with self._used() as connection:
            if not connection.in_transaction:
                connection.execute("BEGIN")
            last = int(about(connection, "sequence"))
            between = (since, min(since + STEP, last))
            removed = connection.execute(
                "SELECT number FROM removed WHERE changed > ? AND changed <= ?", between
            ).fetchall()
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE changed > ? AND changed <= ?"
                " ORDER BY number",
                between,
            )
            rows = [Row.of(columns) for columns in found]
        return between[1], last, [number for (number,) in removed], rows

    def rows(self, numbers: Sequence[int]) -> dict[int, Row]:
        """The entries of these numbers, without those that are gone."""
        return {row.number: row for row in self._where("number", numbers)}

    def by_id(self, ids: Sequence[str]) -> dict[str, Row]:
        """The entries of these ids, without those that are not there."""
        return {row.id: row for row in self._where("id", ids)}

    def _where(self, column: str, values: Sequence[Any]) -> list[Row]:
        found = []
        with self._used() as connection:
            for part in parts(values):
                rows = connection.execute(
                    f"SELECT {_COLUMNS} FROM entries WHERE {column} IN ({marks(part)})", part
                )
                found += [Row.of(columns) for columns in rows]
        return found

    def count(self) -> int:
        """How many entries there are."""
        with self._used() as connection:
            return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])

    def lacking(self, limit: int = -1) -> list[int]:
        """Numbers of entries without a vector, ascending."""
        with self._used() as connection:
            found = connection.execute(
                "SELECT number FROM entries WHERE lacks = 1 ORDER BY number LIMIT ?", (limit,)
            )
            return [number for (number,) in found]

    def without_vector(self, limit: int) -> list[Row]:
        """Up to `limit` entries without a vector."""
        return list(self.rows(self.lacking(limit)).values())

    def last_number(self) -> int:
        """The largest number that an entry has or had; 0 where there never was one."""
        with self._used() as connection:
            found = connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'entries'"
            ).fetchone()
            return 0 if found is None else int(found[0])

    def matching(self, wanted: Mapping[str, Any]) -> list[int]:
        """Numbers of the entries whose metadata has each of these names with that value.

        Values are strings, numbers, booleans and None; None is JSON's `null`, not a missing name.
        """
        condition = " AND ".join(
            "EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND atom IS ?"
            f" AND type IN ({_types(value)}))"
            for value in wanted.values()
        )
        values = [value for pair in wanted.items() for value in pair]
        with self._used() as connection:
            found = connection.execute(
                f"SELECT number FROM entries WHERE {condition or 1} ORDER BY number", values
            )
            return [number for (number,) in found]

    def with_words(
        self, query: str, k: int, allowed: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """Up to `k` numbers of entries with any of the query's words, the best first, with BM25.

        SQLite's `bm25()` with its sign turned: more is better. Nothing in the query has a special
        meaning.
        """
        words = dict.fromkeys(_WORD.findall(query))
        if not words or k <= 0:
            return []
        values: list[Any] = [" OR ".join(f'"{word}"' for word in words)]
        among = ""
        if allowed is not None:  # as JSON, since there may be more than parameters
            among = "AND rowid IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(list(allowed)))
        with self._used() as connection:
            found = connection.execute(
                f"SELECT rowid, -bm25(words) AS score FROM words WHERE words MATCH ? {among}"
                " ORDER BY score DESC, rowid LIMIT ?",
                [*values, k],
            )
            return [(number, score) for number, score in found]


def _types(value: object) -> str:
    """What `json_each` calls a value of that kind: as an atom true is 1, and an array null."""
    if value is None or isinstance(value, bool):
        return f"'{json.dumps(value)}'"
    return "'text'" if isinstance(value, str) else "'integer', 'real'"
