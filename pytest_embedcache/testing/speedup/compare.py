"""The ratio of two series of timings that were taken one after the other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pytest_embedcache.testing.speedup.evidence import ERROR
from pytest_embedcache.testing.speedup.result import Outcome, Speedup

__all__ = ["compare", "median_interval"]

#: Timings below which even their range says nothing.
_FEWEST = 5

_LARGE_EXPONENT = 512
_LARGE = 2.0**_LARGE_EXPONENT


def median_interval(values: Sequence[float], error: float) -> tuple[float, float]:
    """Two of the values, which have the median between them but for a probability of `error`.

    By the binomial distribution of the sign test, for a number of values that was fixed before.
    All numbers for fewer than five; from five on at least their range, which for five values errs
    in 6 % of the cases.
    """
    count = len(values)
    if count < _FEWEST:
        return -math.inf, math.inf
    ordered = sorted(values)
    # The binomial coefficients and their sum are times 2**exponent: no float holds those of a
    # thousand values, nor 0.5**count.
    outside, exponent = 0, -count
    coefficient = total = 1.0
    while math.ldexp(2 * total, exponent) <= error and outside < (count - 1) // 2:
        outside += 1
        coefficient = coefficient * (count - outside + 1) / outside
        if coefficient > _LARGE:
            coefficient, total = coefficient / _LARGE, total / _LARGE
            exponent += _LARGE_EXPONENT
        total += coefficient
    outside = max(0, outside - 1)
    return ordered[outside], ordered[count - 1 - outside]


def compare(baseline: Sequence[float], contender: Sequence[float], *, at_least: float) -> Speedup:
    """How many times longer the baseline's timings, in seconds, are than the contender's.

    The interval is from the ends of both medians' intervals. It knows nothing of what changed on
    the machine between the two series: `measure`, which takes turns, does.
    """
    ratio = statistics.median(baseline) / statistics.median(contender)
    slow = median_interval(baseline, ERROR / 2)
    quick = median_interval(contender, ERROR / 2)
    low, high = -math.inf, math.inf
    if math.isfinite(slow[0]) and math.isfinite(quick[0]) and quick[0] > 0:
        low, high = slow[0] / quick[1], slow[1] / quick[0]
    outcome = Outcome.UNDECIDED
    if low > at_least:
        outcome = Outcome.REACHED
    elif high < at_least:
        outcome = Outcome.MISSED
    return Speedup(
        outcome=outcome,
        at_least=at_least,
        ratio=ratio,
        low=low,
        high=high,
        seconds=sum(baseline) + sum(contender),
        baseline=tuple(baseline),
        contender=tuple(contender),
    )
