"""Measure two functions in turns, until it is sure on which side of a bound their ratio lies."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pytest_embedcache.errors import SettingsError, SpeedupError
from pytest_embedcache.testing.speedup.evidence import decisive, interval
from pytest_embedcache.testing.speedup.result import Outcome, Speedup
from pytest_embedcache.testing.speedup.timing import Collector, Side, Stopwatch

__all__ = ["MAX_SECONDS", "measure", "speedup"]

#: Seconds, unless the caller gives others.
MAX_SECONDS = 10.0


def speedup(
    baseline: Callable[[], object],
    contender: Callable[[], object],
    *,
    at_least: float,
    **options: Any,
) -> Speedup:
    """`measure`, and fail unless the speed-up was reached or is too small to matter.

    Raises:
        SpeedupError: An `AssertionError`: the ratio is below `at_least`, or the time was over
            before that was sure.
    """
    found = measure(baseline, contender, at_least=at_least, **options)
    if not found.passed:
        raise SpeedupError(found.outcome, "\n".join(found.lines()))
    return found


def measure(
    baseline: Callable[[], object],
    contender: Callable[[], object],
    *,
    at_least: float,
    baseline_setup: Callable[[], object] | None = None,
    contender_setup: Callable[[], object] | None = None,
    max_seconds: float = MAX_SECONDS,
    ignore_below: float = 0.0,
    timer: Callable[[], float] = time.perf_counter,
    clock: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
    collect: Callable[[], object] | None = None,
) -> Speedup:
    """Return how many times longer `baseline` takes than `contender`, and whether it is enough.

    In every round both are sampled, in random order, so that what disturbs the machine for a while
    disturbs both; the quicker one several times, of which the median counts. A sample is
    one call, or as many as fill a millisecond, less what calling costs; the garbage collector is
    off in it. Before each call its setup is called, untimed. Both functions are called before the
    first round, which is not counted.

    Args:
        at_least: The bound of the ratio.
        max_seconds: For all of it, setups included. A round that has begun is finished.
        ignore_below: Seconds. Where the medians are less apart, whatever the ratio, the outcome
            is `TOO_SMALL`; a contender that is slower by more is not.
        timer, clock: Of the samples, and of `max_seconds`; in seconds.
        rng, collect: For the order; called before a sample, to free what the last one left.

    Raises:
        SettingsError: A number that is no bound, time or difference.
    """
    _check("at_least", at_least, above=0.0)
    _check("max_seconds", max_seconds, above=0.0)
    _check("ignore_below", ignore_below)
    watch = Stopwatch(timer, collect or Collector(clock))
    sides = Side(baseline, baseline_setup), Side(contender, contender_setup)
    rounds = _Rounds(at_least, ignore_below)
    draw = rng or random.Random()
    with _no_collections():
        started = clock()
        ways = [watch.calibrated(side) for side in sides]
        turns = _turns([way.cost for way in ways])
        outcome = None
        while outcome is None and (not rounds.number or clock() - started < max_seconds):
            draw.shuffle(turns)
            samples: tuple[list[float], list[float]] = [], []
            for which in turns:
                samples[which].append(watch.seconds(ways[which]))
            outcome = rounds.add(*map(statistics.median, samples))
        seconds = clock() - started
    return rounds.result(outcome or Outcome.UNDECIDED, seconds)


def _turns(costs: Sequence[float]) -> list[int]:
    """Which side is sampled how often in a round: 0 the baseline, 1 the contender.

    The quicker one as often as makes most of the time: with a ratio of R between their costs, the
    square root of R. Up to nine times.
    """
    often = [min(9, max(1, round(math.sqrt(max(costs) / cost)))) for cost in costs]
    return [0] * often[0] + [1] * often[1]


def _check(name: str, value: float, *, above: float | None = None) -> None:
    if not (math.isfinite(value) and (value >= 0.0 if above is None else value > above)):
        least = "from 0 up" if above is None else f"above {above:g}"
        raise SettingsError(name, value, "the call", f"give a number {least}")


@contextmanager
def _no_collections() -> Iterator[None]:
    """No automatic garbage collection meanwhile; as it was, afterwards."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass
class _Rounds:
    """The rounds so far, and on how many of them what holds."""

    at_least: float
    ignore_below: float
    baseline: list[float] = field(default_factory=list)
    contender: list[float] = field(default_factory=list)
    _above: int = 0
    _below: int = 0
    #: Of the differences: not slower by more, not quicker by more, more in either direction.
    _not_slower: int = 0
    _not_quicker: int = 0
    _quicker: int = 0
    _slower: int = 0

    @property
    def number(self) -> int:
        return len(self.baseline)

    def add(self, slow: float, quick: float) -> Outcome | None:
        """Take a round in, and return what is sure by now."""
        self.baseline.append(slow)
        self.contender.append(quick)
        ratio, apart = slow / quick, slow - quick
        self._above += ratio > self.at_least
        self._below += ratio < self.at_least
        self._not_slower += apart > -self.ignore_below
        self._not_quicker += apart < self.ignore_below
        self._quicker += apart >= self.ignore_below
        self._slower += apart <= -self.ignore_below
        if self._sure(self._above):
            return Outcome.REACHED
        if self.ignore_below:
            if self._sure(self._not_slower) and self._sure(self._not_quicker):
                return Outcome.TOO_SMALL
            if not (self._sure(self._quicker) or self._sure(self._slower)):
                return None
        return Outcome.MISSED if self._sure(self._below) else None

    def _sure(self, count: int) -> bool:
        return decisive(self.number, count)

    def result(self, outcome: Outcome, seconds: float) -> Speedup:
        ratios = [slow / quick for slow, quick in zip(self.baseline, self.contender, strict=True)]
        low, high = interval(ratios)
        return Speedup(
            outcome=outcome,
            at_least=self.at_least,
            ratio=statistics.median(ratios),
            low=low,
            high=high,
            seconds=seconds,
            ignore_below=self.ignore_below,
            baseline=tuple(self.baseline),
            contender=tuple(self.contender),
        )
