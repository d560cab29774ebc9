"""The lines about speed-up gates at the end of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["gate_lines", "ratio_text"]

_LINES = 8
#: What a reader looks for first.
_ORDER = ("missed", "undecided", "not measured", "too small to matter", "reached")


def gate_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """At most eight lines, the gates that were not reached first; none without gates."""
    ordered = sorted(rows, key=lambda row: _ORDER.index(row["outcome"]))
    room = _LINES if len(ordered) <= _LINES else _LINES - 1
    yield from (_line(row) for row in ordered[:room])
    if more := ordered[room:]:
        counts = {name: sum(row["outcome"] == name for row in more) for name in _ORDER}
        listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        yield f"and {len(more)} more: {listed} (--embedcache-json lists all)"


def _line(row: Mapping[str, Any]) -> str:
    line = f"{row['outcome']}: {row['test']}"
    if row["name"]:
        line += f" {row['name']}"
    if row.get("ratio") is not None:
        line += f": {ratio_text(row)}"
        line += f", at least {row['at_least']:g}; {row['rounds']} rounds"
    if row["reason"]:
        line += f" ({row['reason']})"
    return line


def ratio_text(row: Mapping[str, Any]) -> str:
    """The ratio of a gate that measured, with its interval."""
    from pytest_embedcache.testing.speedup.result import interval_text, times_text

    inf = float("inf")
    low = -inf if row["low"] is None else row["low"]
    high = inf if row["high"] is None else row["high"]
    return f"{times_text(row['ratio'])} {interval_text(low, high)}"
