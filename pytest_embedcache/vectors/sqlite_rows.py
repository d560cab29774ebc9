"""Reading and deleting rows of vectors: the statements, and what their answers are worth."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from pytest_embedcache.vectors.codec import decode_many
from pytest_embedcache.vectors.sqlite_schema import transaction

__all__ = ["CHUNK", "MODEL", "Row", "chunks", "decode", "delete_keys", "delete_rows", "read"]

#: Keys in one SELECT: more is no faster, and an old SQLite admits 999 variables.
CHUNK = 500
#: A model's number, from its fingerprint.
MODEL = "(SELECT id FROM models WHERE fingerprint = ?)"

#: id, key, value; in a damaged database each may be of any type.
Row = tuple[int, bytes, Any]


def read(
    connection: sqlite3.Connection, fingerprint: str, keys: Iterable[bytes], alive_since: float
) -> tuple[dict[bytes, np.ndarray], list[Row], list[int]]:
    """What of these keys was stored after `alive_since`.

    Returns the sound vectors, the rows without one, and the numbers of all rows.
    """
    found: dict[bytes, np.ndarray] = {}
    bad: list[Row] = []
    numbers: list[int] = []
    statement = f"SELECT id, key, value FROM vectors WHERE model = {MODEL} AND stored > ?"
    for chunk in chunks(keys, CHUNK):
        values = (fingerprint, alive_since, *chunk)
        rows = connection.execute(f"{statement} AND key IN {_marks(chunk)}", values).fetchall()
        # Decoded while they are in the processor's cache: for 10,000 vectors that takes a fifth
        # less than all rows first.
        here, damaged = decode(rows, chunk)
        found.update(here)
        bad += damaged
        numbers += [row[0] for row in rows]
    return found, bad, numbers


def decode(rows: list[Row], keys: Iterable[bytes]) -> tuple[dict[bytes, np.ndarray], list[Row]]:
    """The sound vectors, and the rows that are none, or that a damaged index led to."""
    wanted = set(keys)
    found, errors = decode_many((key, value) for _, key, value in rows if key in wanted)
    if len(found) == len(rows):
        return found, []
    return found, [row for row in rows if row[1] in errors or row[1] not in wanted]


def delete_rows(connection: sqlite3.Connection, rows: list[Row]) -> None:
    """Delete rows, each only if it still is what was found: another process may have mended it."""
    with transaction(connection):
        connection.executemany(
            "DELETE FROM vectors WHERE id = ? AND value IS ?", [(row[0], row[2]) for row in rows]
        )


def delete_keys(connection: sqlite3.Connection, fingerprint: str, keys: Iterable[bytes]) -> int:
    """Delete the vectors of these keys; returns how many there were."""
    statement = f"DELETE FROM vectors WHERE model = {MODEL} AND key IN"
    count = 0
    with transaction(connection):
        for chunk in chunks(keys, CHUNK):
            values = (fingerprint, *chunk)
            count += connection.execute(f"{statement} {_marks(chunk)}", values).rowcount
    return count


def chunks(values: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """The values in lists of `size`, the last one shorter."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _marks(values: Sequence[Any]) -> str:
    return f"({', '.join('?' * len(values))})"
