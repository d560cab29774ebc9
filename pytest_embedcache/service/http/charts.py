"""Small charts: lines over the time, across in percent, so that they take the width there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_embedcache.words import in_html

__all__ = ["STYLE", "Line", "chart"]

STYLE = """\
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1.1rem; }
.charts section { margin-top: 0; }
main > .note { margin: 1.3rem 0 .6rem; }
.chart { display: block; width: 100%; height: 92px; margin-top: .5rem; }
.chart polyline { fill: none; stroke-width: 1.8; vector-effect: non-scaling-stroke; }
.chart polyline { stroke-linejoin: round; stroke-linecap: round; }
.chart line { stroke: var(--line); vector-effect: non-scaling-stroke; }
.ends { display: flex; justify-content: space-between; font-size: .78rem; color: var(--quiet); }
.chart polyline { stroke: currentColor; } .key rect { fill: currentColor; }
.rate { color: var(--sqlite); } .quick { color: var(--memory); } .slow { color: var(--computed); }
.answers { color: var(--recordings); } .loads { color: var(--load); }
.resident { color: var(--other); } .memory { color: var(--redis); }
form { margin-top: 1rem; } input, button { font: inherit; padding: .2rem .5rem; }
input, button { background: var(--card); color: var(--ink); border: 1px solid var(--line); }
input, button { border-radius: 6px; }
"""
_WIDE, _HIGH = 1000.0, 100.0
#: So that a line at 0 or at the top is drawn whole.
_EDGE = 4.0


@dataclass(frozen=True)
class Line:
    """A line: class, name, and an amount for each moment; None leaves a gap."""

    kind: str
    name: str
    amounts: Sequence[float | None]


def chart(moments: Sequence[float], lines: Sequence[Line], written: Callable[[float], str]) -> str:
    """The lines over `moments`, from 0 to the largest amount, with their last amounts below."""
    known = [amount for line in lines for amount in line.amounts if amount is not None]
    top = max(known, default=0.0)
    drawn = "".join(_drawn(moments, line, top) for line in lines)
    named = " ".join(_key(line, written) for line in lines)
    return (
        f'<div class="ends"><span>{in_html(written(top)) if known else "-"}</span></div>'
        f'<svg class="chart" viewBox="0 0 {_WIDE:g} {_HIGH:g}" preserveAspectRatio="none" '
        f'role="img" aria-label="{in_html(", ".join(line.name for line in lines))}">'
        f'<line x1="0" x2="{_WIDE:g}" y1="{_HIGH - 1:g}" y2="{_HIGH - 1:g}"/>{drawn}</svg>'
        f"<p>{named}</p>"
    )


def _key(line: Line, written: Callable[[float], str]) -> str:
    last = next((amount for amount in reversed(line.amounts) if amount is not None), None)
    swatch = f'<svg class="{line.kind}" aria-hidden="true"><rect width="100%" height="100%"/></svg>'
    value = "-" if last is None else written(last)
    return f'<span class="key">{swatch}{in_html(line.name)} {in_html(value)}</span>'


def _drawn(moments: Sequence[float], line: Line, top: float) -> str:
    return "".join(
        f'<polyline class="{line.kind}" points="{points}"/>'
        for points in _stretches(moments, line.amounts, top)
    )


def _stretches(
    moments: Sequence[float], amounts: Sequence[float | None], top: float
) -> Iterator[str]:
    """The points of each stretch without a gap; a single one is as wide as it can be seen."""
    if not moments:
        return
    start, whole = moments[0], (moments[-1] - moments[0]) or 1.0
    stretch: list[tuple[float, float]] = []
    for moment, amount in zip((*moments, 0.0), (*amounts, None), strict=True):
        if amount is not None:
            x = _WIDE * (moment - start) / whole
            y = _HIGH - _EDGE - (_HIGH - 2 * _EDGE) * (amount / top if top else 0.0)
            stretch.append((x, y))
        elif stretch:
            if len(stretch) == 1:
                stretch.append((stretch[0][0] + 4.0, stretch[0][1]))
            yield " ".join(f"{x:.1f},{y:.1f}" for x, y in stretch)
            stretch = []
