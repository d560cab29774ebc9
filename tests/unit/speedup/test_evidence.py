"""The interval of a median that may be looked at after every round."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_embedcache.testing.speedup.evidence import ERROR, FEWEST, decisive, interval


def crossing(rounds: int) -> float:
    """The probability, exactly, that fair coins are ever decisive in so many rounds."""
    alive = {0: 1.0}  # heads so far -> probability, where nothing was decisive yet
    crossed = 0.0
    for number in range(1, rounds + 1):
        following: dict[int, float] = {}
        for heads, chance in alive.items():
            for now in (heads, heads + 1):
                if decisive(number, now) or decisive(number, number - now):
                    crossed += chance / 2
                else:
                    following[now] = following.get(now, 0.0) + chance / 2
        alive = following
    return crossed


def test_looking_after_every_round_errs_as_rarely_as_it_says() -> None:
    """Computed and not simulated: in 1,000 rounds, with a look after each, a fair coin is called
    unfair with less than the probability that is promised, and with more than a tenth of it."""
    assert ERROR / 10 < crossing(1000) <= ERROR


def test_the_fewest_rounds_that_show_anything() -> None:
    """Ten on one side are enough, nine are not."""
    assert FEWEST == 10
    assert decisive(10, 10)
    assert not decisive(9, 9)
    assert not decisive(10, 9)


def test_half_is_never_decisive() -> None:
    """However many."""
    assert not any(decisive(rounds, rounds // 2) for rounds in (0, 10, 1000, 100_000))


@given(
    values=st.lists(st.floats(0.1, 100, allow_nan=False), max_size=60),
    bound=st.floats(0.1, 100),
)
def test_interval_and_evidence_agree(values: list[float], bound: float) -> None:
    """The bound lies below the interval exactly where the count above it is decisive, and above it
    where the count below is; also with ties."""
    low, high = interval(values)
    assert (low > bound) == decisive(len(values), sum(value > bound for value in values))
    assert (high < bound) == decisive(len(values), sum(value < bound for value in values))


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_too_few_values_have_no_interval(count: int) -> None:
    """Rather than one that is made up."""
    assert interval([1.0] * count) == (-math.inf, math.inf)


def test_more_values_narrow_the_interval() -> None:
    """And it holds the median."""
    draw = random.Random(0)
    values = [draw.gauss(10, 1) for _ in range(1000)]
    widths = []
    for count in (20, 100, 1000):
        low, high = interval(values[:count])
        assert low < 10 < high
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]
