"""How `embedcache gate` shows what it found: for people, for a job summary, and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pytest_embedcache.testing.speedup.ledger import Gate, Ledger
from pytest_embedcache.testing.speedup.ledgers import Changed, Comparison
from pytest_embedcache.testing.speedup.result import interval_text, seconds_text, times_text
from pytest_embedcache.words import clean, in_code, in_markdown

__all__ = ["as_dict", "lines", "markdown"]

#: What a reader looks for first.
_ORDER = ("missed", "undecided", "not measured", "too small to matter", "reached")


def lines(verdict: str, now: Ledger, compared: Comparison | None) -> Iterator[str]:
    """The table for people; the verdict is its last line."""
    for name, gate in _ordered(now.gates):
        words = f"  ({clean(gate.reason)})" if gate.reason else ""
        yield f"{gate.outcome:<19}  {_measured(gate):>24}  {clean(name)}{words}"
    for one in compared.changes if compared else ():
        yield f"{one.outcome:<19}  {_change(one):>24}  {clean(one.name)}  ({_times(one)})"
    for title, names in _listed(compared):
        for name in names:
            yield f"{title}: {clean(name)}"
    if compared and compared.times_left_out:
        yield _left_out(compared)
    yield verdict


def markdown(verdict: str, now: Ledger, compared: Comparison | None) -> Iterator[str]:
    """The same for a job summary; names are in code spans, whatever stands in them."""
    yield "## embedcache gate"
    yield ""
    yield f"**{in_markdown(verdict)}**"
    yield ""
    if now.gates:
        yield "| gate | outcome | ratio | at least | |"
        yield "| --- | --- | ---: | ---: | --- |"
        for name, gate in _ordered(now.gates):
            ratio = in_markdown(_ratio(gate))
            at_least = "" if gate.at_least is None else f"{gate.at_least:g}"
            reason = in_markdown(gate.reason or "")
            yield f"| {in_code(name)} | {gate.outcome} | {ratio} | {at_least} | {reason} |"
        yield ""
    if compared and compared.changes:
        yield "| compared | outcome | before | now | times slower |"
        yield "| --- | --- | ---: | ---: | ---: |"
        for one in compared.changes:
            before, now_ = (_value(one, value) for value in (one.before, one.now))
            yield (
                f"| {in_code(one.name)} | {one.outcome} | {before} | {now_} | {one.slowdown:.2f} |"
            )
        yield ""
    for title, names in _listed(compared):
        if names:
            yield f"{title}: {', '.join(map(in_code, names))}"
            yield ""
    if compared and compared.times_left_out:
        yield in_markdown(_left_out(compared))
        yield ""


def as_dict(status: int, verdict: str, now: Ledger, compared: Comparison | None) -> dict[str, Any]:
    """Built-in types; the open end of an interval is None."""
    gates = [{"name": name, **asdict(gate)} for name, gate in _ordered(now.gates)]
    for row in gates:
        row |= {end: row[end] if math.isfinite(row[end]) else None for end in ("low", "high")}
    shown = {"status": status, "verdict": verdict, "machine": dict(now.machine), "gates": gates}
    return shown | {"comparison": asdict(compared) if compared else None}


def _ordered(gates: Mapping[str, Gate]) -> list[tuple[str, Gate]]:
    return sorted(gates.items(), key=lambda pair: _ORDER.index(pair[1].outcome))


def _ratio(gate: Gate) -> str:
    if gate.ratio is None:
        return ""
    return f"{times_text(gate.ratio)} {interval_text(gate.low, gate.high)}"


def _measured(gate: Gate) -> str:
    return f"{_ratio(gate)} of {gate.at_least:g}" if gate.ratio is not None else "-"


def _value(one: Changed, value: float) -> str:
    return times_text(value) if one.kind == "ratio" else seconds_text(value)


def _change(one: Changed) -> str:
    return f"{_value(one, one.before)} → {_value(one, one.now)}"


def _times(one: Changed) -> str:
    if one.kind == "ratio":
        return f"the ratio is {one.slowdown:.2f} times smaller"
    return f"it takes {one.slowdown:.2f} times as long"


def _listed(compared: Comparison | None) -> Iterator[tuple[str, list[str]]]:
    if compared:
        yield "only in the current file", compared.only_now
        yield "only in the baseline", compared.only_before


def _left_out(compared: Comparison) -> str:
    return f"times were not compared: {compared.times_left_out} (--absolute compares them anyway)"
