"""The interval of a median whose number of values was fixed before."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from pytest_embedcache.testing.speedup.compare import compare, median_interval
from pytest_embedcache.testing.speedup.result import Outcome


def outside(count: int, error: float) -> int:
    """How many values of each side lie outside the interval, in whole numbers."""
    bound = math.floor(Fraction(error) * 2**count)
    number, total, coefficient = 0, 1, 1
    while 2 * total <= bound and number < (count - 1) // 2:
        number += 1
        coefficient = coefficient * (count - number + 1) // number
        total += coefficient
    return max(0, number - 1)


@pytest.mark.parametrize("error", [0.0625, 0.05, 0.005])
def test_the_interval_is_that_of_the_binomial_distribution(error: float) -> None:
    """As exact arithmetic has it, below and beyond what a float can hold."""
    for count in [*range(5, 300), 1023, 1024, 1029, 1030, 1031, 1075, 2000, 5000]:
        number = outside(count, error)
        assert median_interval(range(count), error) == (number, count - 1 - number)


def test_as_many_rounds_as_a_quick_benchmark_has() -> None:
    """A hundred thousand: the ends are as far from the middle as the normal distribution says."""
    count, error = 100_000, 0.005
    low, high = median_interval(range(count), error)
    far = 2.807 * math.sqrt(count) / 2  # a standard normal variable is beyond with 0.005
    assert count / 2 - low == pytest.approx(far, abs=2)
    assert high - count / 2 == pytest.approx(far, abs=2)
    assert compare([2e-6] * count, [1e-7] * count, at_least=10).outcome is Outcome.REACHED
