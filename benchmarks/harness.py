"""Measuring in turns, and saying what came out."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "Report",
    "Row",
    "Samples",
    "Target",
    "difference",
    "in_turns",
    "per_call",
    "ratio",
    "render",
    "say",
    "seconds_of",
]

Samples = dict[str, list[float]]


def in_turns(
    cases: Mapping[str, Callable[[], float]],
    rounds: int,
    *,
    progress: Callable[[str], object] | None = None,
) -> Samples:
    """Call every case once per round, in an order that changes; return what the calls returned.

    What disturbs the machine for a while then disturbs all cases, and none is always the one after
    a certain other. The order is the same in every run.
    """
    draw = random.Random(0)
    samples: Samples = {name: [] for name in cases}
    for number in range(rounds):
        for name in draw.sample(list(cases), len(cases)):
            samples[name].append(cases[name]())
            if progress is not None:
                progress(f"round {number + 1} of {rounds}: {name} {samples[name][-1]:.4g}")
    return samples


def seconds_of(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def per_call(action: Callable[[], object], calls: int) -> float:
    """Seconds per call of `calls` calls, less those of a call that does nothing."""
    return max(0.0, _loop(action, calls) - _loop(_nothing, calls))


def _loop(action: Callable[[], object], calls: int) -> float:
    repeated = range(calls)
    start = time.perf_counter()
    for _ in repeated:
        action()
    return (time.perf_counter() - start) / calls


def _nothing() -> None:
    pass


Interval = tuple[float, float, float]


def _interval(statistic: Callable[[Sequence[int]], float], size: int) -> Interval:
    """The statistic of all rounds, and its 95 % bootstrap interval, drawing rounds with return."""
    draw = random.Random(0)
    drawn = sorted(statistic(draw.choices(range(size), k=size)) for _ in range(2000))
    return statistic(range(size)), drawn[50], drawn[1949]


def ratio(slow: Sequence[float], quick: Sequence[float]) -> Interval:
    """How many times longer `slow` takes: the ratio of medians, and its 95 % interval."""
    return _interval(
        lambda rounds: (
            statistics.median(slow[i] for i in rounds) / statistics.median(quick[i] for i in rounds)
        ),
        len(slow),
    )


def difference(more: Sequence[float], less: Sequence[float]) -> Interval:
    """What `more` takes on top, round by round: the median, and its 95 % interval."""
    paired = [a - b for a, b in zip(more, less, strict=True)]
    return _interval(lambda rounds: statistics.median(paired[i] for i in rounds), len(paired))


@dataclass(frozen=True)
class Target:
    """A promise and what was measured; `unit` is for people."""

    what: str
    limit: float
    found: float
    unit: str
    at_least: bool = False
    interval: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    def line(self) -> str:
        sign = "≥" if self.at_least else "≤"
        between = ""
        if self.interval:
            low, high = self.interval
            between = f" (95 %: {low:.3g} to {high:.3g})"
        verdict = "met" if self.met else "MISSED"
        return (
            f"{self.what}: {self.found:.3g} {self.unit}{between}, target {sign} {self.limit:g}"
            f" {self.unit}: {verdict}"
        )


@dataclass(frozen=True)
class Row:
    """A line of a table: what was measured, and its cells."""

    name: str
    cells: tuple[str, ...]


@dataclass
class Report:
    """What a benchmark found: a table, what it was held to, and what has to be known."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, name: str, *cells: str) -> None:
        self.rows.append(Row(name, cells))


def render(report: Report) -> Iterator[str]:
    """The report as Markdown, aligned for a terminal; the last line says whether all was met."""
    yield f"## {report.title}"
    yield ""
    table = [Row("", report.columns), *report.rows]
    widths = [max(len(row.cells[i]) for row in table) for i in range(len(report.columns))]
    first = max(len(row.name) for row in table)
    for number, row in enumerate(table):
        cells = (cell.rjust(width) for cell, width in zip(row.cells, widths, strict=True))
        yield f"| {row.name.ljust(first)} | {' | '.join(cells)} |"
        if not number:
            yield f"| {'-' * first} | {' | '.join('-' * (width - 1) + ':' for width in widths)} |"
    yield ""
    for line in (*report.notes, *(target.line() for target in report.targets)):
        yield f"- {line}"
    if report.targets:
        yield ""
        met = all(target.met for target in report.targets)
        yield f"{report.title}: {'met' if met else 'missed'}"


def say(text: str) -> None:
    """Progress, on the side of the results."""
    print(f"  {text}", file=sys.stderr, flush=True)
