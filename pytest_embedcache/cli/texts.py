"""Reading texts from files: one a line, or JSONL."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache.errors import TextFileError

__all__ = ["is_structured", "read_json_line", "read_lines", "read_texts"]


def read_texts(names: list[str], *, jsonl: bool = False) -> Iterator[tuple[str | None, str]]:
    """(role, text) of every line of the files; `-` is standard input.

    With `jsonl`, and in a file that ends in `.jsonl` or `.ndjson`, a line is a JSON string, or an
    object with `text` and perhaps `role` (`query` or `document`); blank lines are passed over. In
    any other file a line is a text, exactly as it stands but for the line's end, and a blank one
    is the empty text. A byte order mark is no part of a text.

    Raises:
        TextFileError: A file cannot be read, or a line is not of that form; it names both.
    """
    for name in names:
        for number, line in read_lines(name):
            if not is_structured(name, jsonl=jsonl):
                yield None, line
            elif line.strip():
                yield _structured(name, number, line)


def is_structured(name: str, *, jsonl: bool) -> bool:
    """Whether the lines of a file are JSON."""
    return jsonl or name.endswith((".jsonl", ".ndjson"))


def read_lines(name: str) -> Iterator[tuple[int, str]]:
    """(number, line) of a file in UTF-8; `-` is standard input.

    Raises:
        TextFileError: It cannot be read.
    """
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:  # a name with a null byte
        raise TextFileError(name, None, str(error)) from error
    lines = raw.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if lines[-1] == b"":
        del lines[-1]
    for number, line in enumerate(lines, 1):
        try:
            yield number, line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise TextFileError(name, number, f"this is not UTF-8 ({error.reason})") from error


def read_json_line(name: str, number: int, line: str) -> tuple[str, dict[str, Any]]:
    """The text of a line, and what else its object has.

    Raises:
        TextFileError: The line is neither a string nor an object with a `text`.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TextFileError(name, number, f"this is not JSON ({error})") from error
    rest = dict(value) if isinstance(value, dict) else {}
    text = rest.pop("text", None) if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise TextFileError(name, number, "this is neither a string nor an object with a 'text'")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise TextFileError(name, number, "half of a surrogate pair is no character")
    return text, rest


def _structured(name: str, number: int, line: str) -> tuple[str | None, str]:
    text, rest = read_json_line(name, number, line)
    role = rest.get("role")
    if role not in (None, "query", "document"):
        raise TextFileError(name, number, f"the role is {role!r}, not 'query' or 'document'")
    return role, text
