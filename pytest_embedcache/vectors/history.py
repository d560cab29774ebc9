"""What vectors cost and saved over time, in a file beside the store.

One line of JSON for each model and process, appended in one write, so that processes need no lock.
A run that found everything computed nothing, and would not know what a text costs: it is here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pytest_embedcache import notices
from pytest_embedcache.files import make_directory

__all__ = ["Past", "append", "read", "rows_of"]

#: Bytes of the two files together; above it the older half goes. Every run reads them at its end,
#: at most 3.5 ms for each 100 kB: enough for some 700 runs.
MAX_BYTES = 128 * 1024

_FILE = "history.jsonl"
#: The older half. Renamed and not rewritten: who is writing to it meanwhile loses no line.
_OLDER = "history-older.jsonl"
_COUNTS = ("asked", "computed", "loads", "billed", "tokens")
_SECONDS = ("encode_seconds", "load_seconds")
_NONE: Mapping[str, int] = {}
#: How a line says that nothing was computed, and how that a model was loaded.
_FREE, _LOADS = b'"computed": 0,', b'"loads": '


class Past(NamedTuple):
    """The sums of one model's lines.

    Attributes:
        asked, found, computed: Texts; `found` by tier.
        encode_seconds: In the model, for `computed` texts.
        loads: How often the model was loaded.
        load_seconds: Of all these loads, imports included.
        billed: Of the `computed` texts, those whose tokens a service counted.
        tokens: That it counted for these.
    """

    asked: int = 0
    found: Mapping[str, int] = _NONE
    computed: int = 0
    encode_seconds: float = 0.0
    loads: int = 0
    load_seconds: float = 0.0
    billed: int = 0
    tokens: int = 0

    @property
    def seconds_per_text(self) -> float:
        """What computing one text has cost so far; 0 where none was."""
        return self.encode_seconds / self.computed if self.computed else 0.0

    @property
    def seconds_per_load(self) -> float:
        """What one load has cost so far; 0 where there was none."""
        return self.load_seconds / self.loads if self.loads else 0.0

    @property
    def hit_rate(self) -> float | None:
        """Part of the vectors looked for in the store that were there; None where none were."""
        found = sum(self.found.values())
        return found / (found + self.computed) if found + self.computed else None


def rows_of(
    vectors: Mapping[str, Mapping[str, Any]], models: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rows for `append`, from tallies by model and from rows of `ModelStats`."""
    found = {
        name: {"model": name, **{key: tally[key] for key in ("asked", "found", "computed")}}
        | {"encode_seconds": tally["encode_seconds"]}
        | ({"billed": tally["billed"], "tokens": tally["tokens"]} if tally.get("billed") else {})
        for name, tally in vectors.items()
        if tally["found"] or tally["computed"]
    }
    for model in models:
        if model["loads"] and model.get("backend") != "fake":
            row = found.setdefault(model["name"], {"model": model["name"]})
            row["loads"] = row.get("loads", 0) + model["loads"]
            seconds = model["load_seconds"] + model["import_seconds"]
            row["load_seconds"] = row.get("load_seconds", 0.0) + seconds
    return list(found.values())


def append(directory: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add one line for each row (`model` and the fields of `Past`); never fails the caller."""
    lines = "".join(json.dumps(dict(row), sort_keys=True) + "\n" for row in rows)
    if not lines:
        return
    path = directory / _FILE
    try:
        make_directory(directory)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if _torn(handle):  # somebody was killed in a write, or the disk was full
                lines = "\n" + lines
            data = lines.encode()
            if os.write(handle, data) < len(data):
                raise OSError("the disk is full")
            full = os.fstat(handle)
        finally:
            os.close(handle)
        if full.st_size > MAX_BYTES // 2:
            with contextlib.suppress(FileNotFoundError):  # another process has renamed it
                if os.stat(path).st_ino == full.st_ino:
                    os.replace(path, directory / _OLDER)
    except OSError as error:
        notices.degraded(f"cannot keep the history in {path}: {error.strerror or error}")


def _torn(handle: int) -> bool:
    size = os.fstat(handle).st_size
    if not size:
        return False
    os.lseek(handle, size - 1, os.SEEK_SET)
    return os.read(handle, 1) != b"\n"


def read(directory: Path, *, costs_only: bool = False) -> dict[str, Past]:
    """The sums by model; lines that cannot be read are passed over, whole.

    With `costs_only` also those in which all was found: of what it cost they say nothing.
    """
    sums: dict[str, dict[str, Any]] = {}
    for line in _lines(directory):
        if costs_only and _FREE in line and _LOADS not in line:
            continue
        try:
            row = json.loads(line)
            model, amounts = row["model"], _amounts(row)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            continue
        if isinstance(model, str):
            total = sums.setdefault(model, {"found": {}})
            for name, amount in amounts:
                total[name] = total.get(name, 0) + amount
            tiers = total["found"]
            for tier, count in row.get("found", {}).items():
                tiers[tier] = tiers.get(tier, 0) + int(count)
    return {model: Past(**total) for model, total in sums.items()}


def _lines(directory: Path) -> Iterator[bytes]:
    for name in (_OLDER, _FILE):
        with contextlib.suppress(OSError):
            yield from (directory / name).read_bytes().splitlines()


def _amounts(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What of a row is added up, beside `found`, which is looked at as well."""
    for count in row.get("found", {}).values():
        _number(int, count)
    counts = [(name, _number(int, row[name])) for name in _COUNTS if name in row]
    return counts + [(name, _number(float, row[name])) for name in _SECONDS if name in row]


def _number(kind: type[Any], value: Any) -> Any:
    number = kind(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value!r} is no amount")
    return number
