"""What vectors cost and saved over time, in a file beside the store.

One line of JSON for each model and process, appended in one write, so that processes need no lock.
A run that found everything computed nothing, and would not know what a text costs: it is here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_embedcache import notices
from pytest_embedcache.files import make_directory, write_atomically

__all__ = ["Past", "append", "read"]

#: Bytes; above it the older half of the file goes.
MAX_BYTES = 512 * 1024


@dataclass
class Past:
    """The sums of one model's lines.

    Attributes:
        asked, found, computed: Texts; `found` by tier.
        encode_seconds: In the model, for `computed` texts.
        loads: How often the model was loaded.
        load_seconds: Of all these loads, imports included.
    """

    asked: int = 0
    found: dict[str, int] = field(default_factory=dict)
    computed: int = 0
    encode_seconds: float = 0.0
    loads: int = 0
    load_seconds: float = 0.0

    @property
    def seconds_per_text(self) -> float:
        """What computing one text has cost so far; 0 where none was."""
        return self.encode_seconds / self.computed if self.computed else 0.0

    @property
    def seconds_per_load(self) -> float:
        """What one load has cost so far; 0 where there was none."""
        return self.load_seconds / self.loads if self.loads else 0.0


def append(directory: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add one line for each row (`model` and the fields of `Past`); never fails the caller."""
    lines = "".join(json.dumps(dict(row), sort_keys=True) + "\n" for row in rows)
    if not lines:
        return
    path = directory / "history.jsonl"
    try:
        make_directory(directory)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, lines.encode())
            size = os.fstat(handle).st_size
        finally:
            os.close(handle)
        if size > MAX_BYTES:
            _halve(path)
    except OSError as error:
        notices.degraded(f"cannot keep the history in {path}: {error.strerror or error}")


def _halve(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    write_atomically(path, b"".join(lines[len(lines) // 2 :]))


def read(directory: Path) -> dict[str, Past]:
    """The sums by model; lines that cannot be read are passed over."""
    found: dict[str, Past] = {}
    try:
        lines = (directory / "history.jsonl").read_bytes().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            row = json.loads(line)
            past = found.setdefault(str(row["model"]), Past())
            for tier, count in dict(row.get("found", {})).items():
                past.found[tier] = past.found.get(tier, 0) + int(count)
            past.asked += int(row.get("asked", 0))
            past.computed += int(row.get("computed", 0))
            past.encode_seconds += float(row.get("encode_seconds", 0.0))
            past.loads += int(row.get("loads", 0))
            past.load_seconds += float(row.get("load_seconds", 0.0))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found
