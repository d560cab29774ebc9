"""The drawings of a report: a worker's time, a model's texts, a gate's interval.

Across in percent, so that they take the width there is and no letter is stretched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_embedcache.words import in_html, seconds, times

__all__ = ["axis", "gate", "gate_scale", "lane", "shares", "split"]

#: Percent below which a bar would not be seen.
_THIN = 0.15
#: How far to both sides of the bound a gate is drawn, as a factor.
_REACH = 4.0
#: Lines of an axis at most; half as many at least.
_LINES = 6


def lane(row: Mapping[str, Any], start: float, end: float) -> str:
    """One process from the beginning of the run to its end: its tests, loads and computing."""
    whole = max(end - start, 1e-9)

    def place(since: float, until: float) -> str:
        x = 100 * (since - start) / whole
        width = max(_THIN, 100 * (until - since) / whole)
        return f'x="{min(x, 100 - _THIN):.3f}%" width="{width:.3f}%"'

    parts = [f'<svg class="lane" role="img" aria-label="{in_html(row["name"])}">']
    for tests in row["stretches"]:
        name = tests["name"] if tests["tests"] == 1 else times(tests["tests"], "test")
        kind = "failed" if tests["failed"] else "tests"
        where = place(tests["start"], tests["end"])
        took = seconds(tests["end"] - tests["start"])
        parts.append(_bar(kind, where, 4, 7, f"{name}: {took}"))
    for since, until, texts in row["computing"]:
        title = f"{times(int(texts), 'text')} computed: {seconds(until - since)}"
        parts.append(_bar("computed", place(since, until), 14, 20, title))
    for load in row["loads"]:
        parts.extend(_load(load, place(load["start"], load["end"])))
    return "".join(parts) + "</svg>"


def _bar(kind: str, where: str, y: int, height: int, title: str) -> str:
    return (
        f'<rect class="{kind}" {where} y="{y}" height="{height}" rx="1.5">'
        f"<title>{in_html(title)}</title></rect>"
    )


def _load(load: Mapping[str, Any], where: str) -> Iterator[str]:
    """A load, its imports darker, with its name as far as there is room."""
    took = load["end"] - load["start"]
    imports = min(100.0, 100 * load["import_seconds"] / took) if took > 0 else 0.0
    title = f"{load['name']} on {load['device']}: {seconds(took)}"
    title += f" (imports {seconds(load['import_seconds'])})" if imports else ""
    title += ", failed" if load["failed"] else ""
    title += f", in {load['test']}" if load["test"] else ""
    short = str(load["name"]).rsplit("/", 1)[-1]
    kind = "failed" if load["failed"] else "loads"
    yield f'<svg {where} y="14" height="20"><title>{in_html(title)}</title>'
    yield f'<rect class="{kind}" width="100%" height="100%" rx="3"/>'
    yield f'<rect class="imports" width="{imports:.2f}%" height="100%"/>'
    yield f'<text class="on" x="6" y="14">{in_html(short)} · {seconds(took)}</text></svg>'


def axis(whole: float) -> str:
    """The seconds below all lanes."""
    step = 10.0 ** math.floor(math.log10(max(whole, 1e-6)))
    while whole / step > _LINES:
        step *= 2 if whole / step < 2 * _LINES else 5
    while whole / step < _LINES / 2:
        step /= 2
    parts = ['<svg class="axis" aria-hidden="true">']
    tick = 0.0
    while tick <= whole:
        x = 100 * tick / max(whole, 1e-9)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        parts.append(f'<line x1="{x:.3f}%" x2="{x:.3f}%" y1="0" y2="5"/>')
        label = "0" if not tick else seconds(tick)
        parts.append(f'<text x="{x:.3f}%" y="18" text-anchor="{anchor}">{label}</text>')
        tick += step
    return "".join(parts) + "</svg>"


def shares(parts: Sequence[tuple[str, str, int]]) -> str:
    """(kind, name, amount) as parts of one bar."""
    whole = sum(amount for *_, amount in parts)
    drawn, x = ['<svg class="shares" role="img">'], 0.0
    for kind, name, amount in parts:
        width = 100 * amount / whole if whole else 0.0
        drawn.append(
            f'<rect class="{kind}" x="{x:.3f}%" width="{width:.3f}%" height="100%">'
            f"<title>{in_html(name)}: {times(amount, 'text')}</title></rect>"
        )
        x += width
    return "".join(drawn) + "</svg>"


def split(row: Mapping[str, Any], longest: float) -> str:
    """A test's seconds beside those of the longest: in loads, in computing, and the rest."""
    loads = min(row["loading"], row["seconds"])
    computed = min(row["computing"], row["seconds"] - loads)
    parts = {"loads": loads, "computed": computed, "tests": row["seconds"] - loads - computed}
    drawn, x = ['<svg class="shares" aria-hidden="true">'], 0.0
    for kind, amount in parts.items():
        width = 100 * amount / longest
        drawn.append(f'<rect class="{kind}" x="{x:.3f}%" width="{width:.3f}%" height="100%"/>')
        x += width
    return "".join(drawn) + "</svg>"


def gate_scale() -> str:
    """What is where in the drawings of gates."""
    far = f"{_REACH:g}"
    return (
        '<svg class="axis" aria-hidden="true"><text x="2%" y="14">'
        f'1/{far} of it</text><text x="50%" y="14" text-anchor="middle">as asked</text>'
        f'<text x="98%" y="14" text-anchor="end">{far} times</text></svg>'
    )


def gate(row: Mapping[str, Any], kind: str) -> str:
    """The interval of a gate beside its bound, which stands in the middle, on a log scale.

    An end that is open, or lies beyond the scale, is an arrow.
    """
    bound = row["at_least"]
    low, low_open = _across(row["low"], bound, 2.0)
    high, high_open = _across(row["high"], bound, 98.0)
    middle, beyond = _across(row["ratio"], bound, 50.0)
    parts = [f'<svg class="gate {kind}" role="img">']
    parts.append('<rect class="enough" x="50%" width="50%" height="100%"/>')
    parts.append('<line class="bound" x1="50%" x2="50%" y1="0" y2="100%"/>')
    parts.append(f'<line class="interval" x1="{low:.2f}%" x2="{high:.2f}%" y1="14" y2="14"/>')
    for x, is_open in ((low, low_open), (high, high_open)):
        if is_open:
            inward = 1 if x < 50 else -1
            parts.append(f'<svg x="{x:.2f}%" y="8" width="12" height="12" overflow="visible">')
            parts.append(f'<path d="M0 6 L{inward * 9} 1 V11 Z"/></svg>')
        else:
            parts.append(f'<line class="interval" x1="{x:.2f}%" x2="{x:.2f}%" y1="8" y2="20"/>')
    if not beyond:
        parts.append(f'<circle cx="{middle:.2f}%" cy="14" r="4.5"/>')
    return "".join(parts) + "</svg>"


def _across(value: float | None, bound: float, where_open: float) -> tuple[float, bool]:
    """Percent, and whether the value is none or lies beyond the scale."""
    if value is None or not math.isfinite(value):
        return where_open, True
    if value <= 0 or value / bound < 1 / _REACH:
        return 2.0, True
    if value / bound > _REACH:
        return 98.0, True
    return 50 + 48 * math.log(value / bound) / math.log(_REACH), False
