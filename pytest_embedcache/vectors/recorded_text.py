"""Any text as JSON that people can read, git can compare, and that gives back exactly that text."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

__all__ = ["joined", "pieces", "readable_json"]

#: Between a high and a low surrogate JSON's reader would make one character of the two.
_SPELT_PAIR = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
#: Kept as they are by `json.dumps`, and not to be seen in review: control and format characters
#: (some reverse what is shown), separators of lines, private ones, surrogates.
_HIDDEN = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs", "Co"))
_ASCII = re.compile(r"[ -~\n]*")


def pieces(text: str) -> str | list[str]:
    """The text as one JSON string, or as a list of strings: one for each of its lines.

    A high surrogate ends a string where a low one follows: together they would be another text.
    """
    parts = [part for line in text.split("\n") for part in (*_SPELT_PAIR.split(line), "\n")]
    del parts[-1]  # the last line has no end
    merged: list[str] = []
    for part in parts:
        if part == "\n" and merged:
            merged[-1] += part
        elif part or not merged:
            merged.append(part)
    return merged[0] if len(merged) == 1 else merged


def joined(found: Any) -> str:
    """The inverse of `pieces`. Raises `ValueError` for anything else."""
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list) or not all(isinstance(part, str) for part in listed):
        raise ValueError("the text is neither a string nor a list of strings")
    return "".join(listed)


def readable_json(value: Any) -> bytes:
    """Indented JSON as UTF-8 with LF, in which every character is either visible or escaped."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    if not _ASCII.fullmatch(text):
        text = "".join(_shown(character) for character in text)
    return text.encode("utf-8")


def _shown(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in _HIDDEN:
        return character
    return json.dumps(character)[1:-1]  # \uXXXX, or the two that spell it
