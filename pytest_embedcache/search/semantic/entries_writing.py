"""What can be done to the entries of an index inside one transaction."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EntryError
from pytest_embedcache.search.semantic.entry import Entry, key_of, marks, metadata_json, parts
from pytest_embedcache.vectors import codec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Writing", "about"]


class Writing:
    """Changes to the entries, each with a number of its own, counted on from the last one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sequence = int(about(connection, "sequence"))

    def about(self, name: str) -> Any:
        """What is noted about the whole index under `name`; None where nothing is."""
        return about(self._connection, name)

    def note(self, name: str, value: str | int) -> None:
        """Note `value` about the whole index."""
        self._connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def add(
        self,
        entries: Iterable[Entry],
        vectors: Iterable[np.ndarray | None],
        numbers: Iterable[int | None] | None = None,
    ) -> None:
        """Add entries with their vectors (None where there is none).

        `numbers` are those of the entries in the index that this one is made from.

        Raises:
            EntryError: An id is there already, or a value cannot be stored.
        """
        given = itertools.repeat(None) if numbers is None else numbers
        for entry, vector, number in zip(entries, vectors, given, strict=False):
            try:
                added = self._connection.execute(
                    "INSERT INTO entries (number, id, text, metadata, changed, lacks)"
                    " VALUES (?, ?, ?, ?, ?, 1)",
                    (number, entry.id, entry.text, metadata_json(entry), self._next()),
                ).lastrowid
            except sqlite3.IntegrityError:
                raise EntryError(
                    entry.id, "is in the index already", "Use update(), or another id."
                ) from None
            except UnicodeEncodeError as error:
                raise _half(entry.id) from error
            assert added is not None
            self._add_words(added, entry.text)
            self._set_vector(added, vector)

    def replace(self, number: int, entry: Entry, vector: np.ndarray | None) -> bool:
        """Let the entry `number` have this text, metadata and vector; False if there is none.

        Raises:
            EntryError: A value cannot be stored.
        """
        if not self._drop_words(number):
            return False
        try:
            self._connection.execute(
                "UPDATE entries SET text = ?, metadata = ?, changed = ? WHERE number = ?",
                (entry.text, metadata_json(entry), self._next(), number),
            )
        except UnicodeEncodeError as error:
            raise _half(entry.id) from error
        self._add_words(number, entry.text)
        self._set_vector(number, vector)
        return True

    def set_metadata(self, number: int, entry: Entry) -> None:
        """Let the entry `number` have this metadata."""
        self._connection.execute(
            "UPDATE entries SET metadata = ?, changed = ? WHERE number = ?",
            (metadata_json(entry), self._next(), number),
        )

    def put_vector(self, number: int, vector: np.ndarray | None, *, text: str) -> None:
        """Let this be the vector of entry `number`, unless its text is another by now."""
        changed = self._connection.execute(
            "UPDATE entries SET changed = ? WHERE number = ? AND text = ?",
            (self._next(), number, text),
        )
        if changed.rowcount:
            self._set_vector(number, vector)

    def lose_vectors(self, numbers: Sequence[int]) -> None:
        """Note that these have no vector: theirs is damaged."""
        for number in numbers:
            self._set_vector(number, None)

    def remove(self, ids: Sequence[str]) -> int:
        """Remove the entries of these ids; returns how many there were."""
        removed = 0
        for part in parts(ids):
            found = self._connection.execute(
                f"SELECT number FROM entries WHERE id IN ({marks(part)})", part
            ).fetchall()
            self.remove_numbers([number for (number,) in found])
            removed += len(found)
        return removed

    def remove_numbers(self, numbers: Sequence[int]) -> None:
        """Remove the entries of these numbers, where there are such."""
        for number in numbers:
            if self._drop_words(number):
                for table in ("entries", "vectors"):
                    self._connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
                self._connection.execute(
                    "INSERT OR REPLACE INTO removed VALUES (?, ?)", (number, self._next())
                )

    def number_after(self, last: int) -> None:
        """Let the numbers of new entries be larger than `last`."""
        given = "FROM sqlite_sequence WHERE name = 'entries'"
        (known,) = self._connection.execute(f"SELECT max(seq) {given}").fetchone()
        if last > (known or 0):
            self._connection.execute(f"DELETE {given}")
            self._connection.execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (last,))

    def end(self) -> None:
        """Note how far the changes were counted; the last thing in a transaction."""
        self.note("sequence", self._sequence)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _add_words(self, number: int, text: str) -> None:
        self._connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, text))

    def _drop_words(self, number: int) -> bool:
        """Take the words of an entry out, as long as its text is there; False if it is not."""
        found = self._connection.execute("SELECT text FROM entries WHERE number = ?", (number,))
        if (row := found.fetchone()) is None:
            return False
        self._connection.execute(
            "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (number, *row)
        )
        return True

    def _set_vector(self, number: int, vector: np.ndarray | None) -> None:
        if vector is None:
            self._connection.execute("DELETE FROM vectors WHERE number = ?", (number,))
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                (number, codec.encode(vector, key_of(number))),
            )
        self._connection.execute(
            "UPDATE entries SET lacks = ? WHERE number = ?", (vector is None, number)
        )


def about(connection: sqlite3.Connection, name: str) -> Any:
    """What is noted about the whole index under `name`; None where nothing is."""
    found = connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
    return None if found is None else found[0]


def _half(identifier: str) -> EntryError:
    return EntryError(
        identifier, "holds half of a surrogate pair, which is no character", "Mend the text."
    )
