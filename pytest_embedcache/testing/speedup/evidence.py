"""What is known of a median, however often one has looked.

Whoever measures until an interval lies on one side of a bound looks after every round, and each
look is a chance to be wrong: an interval that errs in 1 % of the cases when it is looked at once
errs far more often then. So the intervals here are a confidence sequence: with a probability of
99 % all of them together, after every round, contain the median.

Source: H. Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of
Mathematical Statistics 41 (1970), for a coin; Ville's inequality bounds the mixture of likelihood
ratios. The coin is the side of the true median on which a round falls (the sign test), so nothing
is assumed of the timings' distribution: spikes and two modes cost rounds, not correctness. The
mixing weights are those of Krichevsky and Trofimov, Beta(1/2, 1/2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

__all__ = ["ERROR", "FEWEST", "decisive", "interval"]

#: The probability that any interval, after any round, leaves the median out.
ERROR = 0.01
_ENOUGH = math.log(1 / ERROR)


def decisive(rounds: int, count: int) -> bool:
    """Whether `count` of `rounds` values on one side of a number show that the median is there."""
    if 2 * count <= rounds:
        return False
    evidence = (
        rounds * math.log(2)
        + math.lgamma(count + 0.5)
        + math.lgamma(rounds - count + 0.5)
        - math.lgamma(rounds + 1)
        - math.log(math.pi)
    )
    return evidence >= _ENOUGH


#: Rounds below which nothing can be decisive.
FEWEST = next(rounds for rounds in range(100) if decisive(rounds, rounds))


@cache
def _least(rounds: int) -> int:
    """The least count that is decisive; `rounds` is `FEWEST` or more."""
    low, high = rounds // 2, rounds
    while high - low > 1:
        middle = (low + high) // 2
        if decisive(rounds, middle):
            high = middle
        else:
            low = middle
    return high


def interval(values: Iterable[float]) -> tuple[float, float]:
    """The interval of the values' median: two of the values, or all numbers for too few values.

    A bound lies below it exactly where the count of values above the bound is `decisive`.
    """
    ordered = sorted(values)
    if len(ordered) < FEWEST:
        return -math.inf, math.inf
    least = _least(len(ordered))
    return ordered[len(ordered) - least], ordered[least - 1]
