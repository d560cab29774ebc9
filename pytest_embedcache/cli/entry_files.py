"""Reading entries from a file: texts one a line, JSONL, or CSV with a header."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_embedcache.cli.texts import is_structured, read_json_line, read_lines
from pytest_embedcache.errors import TextFileError
from pytest_embedcache.search.semantic.entry import Entry

__all__ = ["read_entries"]


def read_entries(name: str, *, jsonl: bool = False) -> Iterator[Entry]:
    """The entries in a file; `-` is standard input. Lines that are blank are passed over.

    With `jsonl`, and in a file that ends in `.jsonl` or `.ndjson`, a line is a JSON string, or an
    object with `text` and perhaps `id` and `metadata`; what else it has is metadata too. A file
    that ends in `.csv` or `.tsv` has a header with `text` and perhaps `id`; its other columns are
    metadata. In any other file a line is a text. An entry without an id has its line's number.

    Raises:
        TextFileError: The file cannot be read, or a line is not of that form; it names both.
    """
    lines = read_lines(name)
    if name.endswith((".csv", ".tsv")):
        yield from _rows(name, lines)
        return
    structured = is_structured(name, jsonl=jsonl)
    for number, line in lines:
        if not line.strip():
            continue
        if structured:
            yield _entry(name, number, *read_json_line(name, number, line))
        else:
            yield Entry(str(number), line, {})


def _entry(name: str, number: int, text: str, rest: dict[str, Any]) -> Entry:
    own, metadata = rest.pop("id", number), rest.pop("metadata", {})
    if not isinstance(own, str | int) or isinstance(own, bool):
        raise TextFileError(name, number, f"the id is {own!r}, neither a string nor a number")
    if not isinstance(metadata, dict):
        raise TextFileError(name, number, "the metadata is no object")
    return Entry(str(own), text, rest | metadata)


def _rows(name: str, lines: Iterator[tuple[int, str]]) -> Iterator[Entry]:
    import csv

    reader = csv.DictReader(
        (f"{line}\n" for _, line in lines), delimiter="\t" if name.endswith(".tsv") else ","
    )
    if "text" not in (reader.fieldnames or ()):
        raise TextFileError(name, 1, "there is no column named 'text' in the header")
    try:
        for row in reader:
            if None in row or None in row.values():
                raise TextFileError(name, reader.line_num, "it has another number of columns")
            text = row.pop("text")
            if text.strip():
                yield Entry(row.pop("id", None) or str(reader.line_num), text, row)
    except csv.Error as error:
        raise TextFileError(name, reader.line_num, str(error)) from error
