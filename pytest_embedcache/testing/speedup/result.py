"""What a measuring found, in words."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_embedcache.testing.speedup.evidence import ERROR, FEWEST

__all__ = ["Outcome", "Speedup", "interval_text", "seconds_text", "times_text"]

_BINS = 8
_BAR = 30


class Outcome(enum.StrEnum):
    """How a gate ended."""

    REACHED = "reached"
    MISSED = "missed"
    UNDECIDED = "undecided"
    TOO_SMALL = "too small to matter"


@dataclass(frozen=True)
class Speedup:
    """How many times longer the baseline takes than the contender.

    Attributes:
        outcome: What that means for the bound `at_least`.
        ratio: The median of the rounds' ratios.
        low, high: Its interval, which 99 % of all measurings contain in all their rounds; from
            minus infinity to infinity where there were too few rounds for one.
        baseline, contender: Seconds per call, one for each round, in the order of the rounds.
        seconds: That all of it took.
    """

    outcome: Outcome
    at_least: float
    ratio: float
    low: float
    high: float
    seconds: float
    ignore_below: float = 0.0
    baseline: Sequence[float] = field(default=(), repr=False)
    contender: Sequence[float] = field(default=(), repr=False)

    @property
    def rounds(self) -> int:
        return len(self.baseline)

    @property
    def passed(self) -> bool:
        """Reached, or too small to matter."""
        return self.outcome in (Outcome.REACHED, Outcome.TOO_SMALL)

    def line(self) -> str:
        """The outcome in one line: `undecided: 10.1 [9.6, 10.7] after 5 s, at least 10 …`."""
        line = f"{self.outcome}: {times_text(self.ratio)} {interval_text(self.low, self.high)}"
        line += f" after {self.seconds:.2g} s, at least {self.at_least:g} is asked"
        if self.outcome is Outcome.TOO_SMALL:
            line += f" (less than {seconds_text(self.ignore_below)} apart)"
        return line

    def lines(self) -> Iterator[str]:
        """All of it, for people."""
        yield self.line()
        if self.rounds < FEWEST:
            yield (
                f"only {self.rounds} rounds fitted in, and fewer than {FEWEST} show nothing: "
                f"give max_seconds={self._needed():.0f} or more"
            )
        yield (
            f"{self.rounds} rounds; the ratio is their median, [ ] contains it in "
            f"{1 - ERROR:.0%} of all measurings"
        )
        for name, samples in (("baseline", self.baseline), ("contender", self.contender)):
            if samples:
                least, middle, most = min(samples), statistics.median(samples), max(samples)
                yield (
                    f"  {name:<9} {seconds_text(middle):>8} median "
                    f"({seconds_text(least)} to {seconds_text(most)})"
                )
        yield from _histogram([b / c for b, c in zip(self.baseline, self.contender, strict=True)])

    def _needed(self) -> float:
        """Seconds for the fewest rounds that can decide anything, and some to spare."""
        return math.ceil(2 * FEWEST * self.seconds / max(1, self.rounds))

    def as_dict(self) -> dict[str, Any]:
        """Built-in types, without the samples; an end of the interval that is open is None."""
        return {
            "outcome": self.outcome.value,
            "ratio": self.ratio,
            "low": self.low if math.isfinite(self.low) else None,
            "high": self.high if math.isfinite(self.high) else None,
            "at_least": self.at_least,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "baseline": statistics.median(self.baseline) if self.baseline else None,
            "contender": statistics.median(self.contender) if self.contender else None,
        }


def _histogram(values: Sequence[float]) -> Iterator[str]:
    """How often which ratio: bins of equal width, the last for all that is far above the rest."""
    if len(values) < 2:
        return
    ordered = sorted(values)
    # One spike of five times would leave a single bar for all the others.
    low, high = ordered[0], ordered[math.ceil(0.95 * len(ordered)) - 1]
    width = (high - low) / _BINS
    if width < 1e-6 * high:  # all the same, but for rounding
        return
    counts = [0] * _BINS
    for value in values:
        counts[min(_BINS - 1, int((value - low) / width))] += 1
    yield "  ratio of a round, and how often:"
    for number, count in enumerate(counts):
        more = "and more" if number == _BINS - 1 and ordered[-1] > high else ""
        bar = "#" * math.ceil(_BAR * count / max(counts))
        yield f"  {times_text(low + number * width):>9} {bar} {count or ''} {more}".rstrip()


def times_text(value: float) -> str:
    """A ratio with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def interval_text(low: float, high: float) -> str:
    """`[9.6, 10.7]`."""
    if not math.isfinite(high):
        return "[too few rounds for an interval]"
    return f"[{times_text(low)}, {times_text(high)}]"


def seconds_text(value: float) -> str:
    """A time with three digits and its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
