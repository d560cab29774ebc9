"""Reading texts from files: one a line, or JSONL."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_embedcache.errors import TextFileError

__all__ = ["read_texts"]


def read_texts(names: list[str]) -> Iterator[tuple[str | None, str]]:
    """(role, text) of every line of the files; `-` is standard input.

    In a file that ends in `.jsonl` or `.ndjson` a line is a JSON string, or an object with `text`
    and perhaps `role` (`query` or `document`). In any other file a line is a text, exactly as it
    stands but for the line's end.

    Raises:
        TextFileError: A file cannot be read, or a line is not of that form; it names both.
    """
    for name in names:
        try:
            raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
            content = raw.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TextFileError(name, None, str(error)) from error
        lines = content.split("\n")
        if lines[-1] == "":
            del lines[-1]
        structured = name.endswith((".jsonl", ".ndjson"))
        for number, line in enumerate(lines, 1):
            line = line.removesuffix("\r")
            if structured:
                yield _structured(name, number, line)
            else:
                yield None, line


def _structured(name: str, number: int, line: str) -> tuple[str | None, str]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise TextFileError(name, number, f"this is not JSON ({error})") from error
    if isinstance(value, str):
        return None, value
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        role = value.get("role")
        if role in (None, "query", "document"):
            return role, value["text"]
        raise TextFileError(name, number, f"the role is {role!r}, not 'query' or 'document'")
    raise TextFileError(name, number, "this is neither a string nor an object with a 'text'")
