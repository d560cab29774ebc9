"""What is put into a semantic index, what comes out, and how it lies in a database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_embedcache.errors import EntryError

__all__ = ["Entry", "Row", "key_of", "marks", "metadata_json", "parts"]

_T = TypeVar("_T")

#: Parameters of one statement; older SQLites take 999.
_TOGETHER = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """What is put into an index: a text with its id, and anything that JSON can hold about it."""

    id: str
    text: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row(Entry):
    """An entry as it is stored: also its number, and that of its last change."""

    number: int
    changed: int

    @classmethod
    def of(cls, columns: Sequence[Any]) -> Row:
        """From the columns id, text, metadata, number and changed."""
        return cls(columns[0], columns[1], json.loads(columns[2]), columns[3], columns[4])


def key_of(number: int) -> bytes:
    """What the checksum of a vector covers beside it."""
    return number.to_bytes(8, "big")


def metadata_json(entry: Entry) -> str:
    """The metadata as JSON.

    Raises:
        EntryError: JSON cannot hold it.
    """
    try:
        return json.dumps(dict(entry.metadata), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise EntryError(
            entry.id, f"has metadata that JSON cannot hold ({error})", "Give strings and numbers."
        ) from error


def parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The values in parts that one statement can take."""
    for start in range(0, len(values), _TOGETHER):
        yield values[start : start + _TOGETHER]


def marks(values: Sequence[object]) -> str:
    """A question mark for each."""
    return ",".join("?" * len(values))
