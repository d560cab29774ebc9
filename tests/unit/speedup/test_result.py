"""What a gate says: every number in three digits, with its unit."""

from __future__ import annotations

import json
import math

import pytest

from pytest_embedcache.testing.speedup.result import (
    Outcome,
    Speedup,
    interval_text,
    seconds_text,
    times_text,
)


def result(**changes: object) -> Speedup:
    given: dict[str, object] = {
        "outcome": Outcome.UNDECIDED,
        "at_least": 10.0,
        "ratio": 10.1,
        "low": 9.6,
        "high": 10.7,
        "seconds": 5.02,
        "baseline": (1.01,) * 20,
        "contender": (0.1,) * 20,
        **changes,
    }
    return Speedup(**given)  # type: ignore[arg-type]


def test_undecided_in_one_line() -> None:
    """Ratio, interval, time and bound."""
    assert result().line() == "undecided: 10.1 [9.6, 10.7] after 5 s, at least 10 is asked"


def test_the_histogram_has_a_bar_for_each_share() -> None:
    """Counts add up to the rounds; a spike is in the last bar, which says that there is more."""
    baseline = (1.0,) * 8 + (1.1,) * 4 + (1.2,) * 7 + (50.0,)
    lines = list(result(baseline=baseline).lines())
    bars = lines[lines.index("  ratio of a round, and how often:") + 1 :]
    counts = [int(line.split("#")[-1].split()[0]) for line in bars if "#" in line]
    assert sum(counts) == 20
    assert bars[0] == f"         10 {'#' * 30} 8"
    assert bars[-1].endswith("8 and more")
    assert len(bars) == 8


def test_equal_rounds_need_no_histogram() -> None:
    """And divide nothing by zero."""
    assert not any("#" in line for line in result().lines())


def test_as_dict_is_json() -> None:
    """An open interval is null: JSON has no infinity."""
    found = json.loads(json.dumps(result(low=-math.inf, high=math.inf).as_dict(), allow_nan=False))
    assert found["outcome"] == "undecided"
    assert (found["low"], found["high"]) == (None, None)
    assert (found["rounds"], found["baseline"], found["contender"]) == (20, 1.01, 0.1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21456, "3.21 s"), (0.05, "50 ms"), (2.5e-6, "2.5 µs"), (3e-9, "3 ns"), (0.0, "0 ns")],
)
def test_seconds(seconds: float, text: str) -> None:
    """With the unit that fits."""
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(9.6, "9.6"), (10.07, "10.1"), (123.4, "123"), (12345.6, "12,346")]
)
def test_times(ratio: float, text: str) -> None:
    """No exponents."""
    assert times_text(ratio) == text
    assert interval_text(ratio, ratio) == f"[{text}, {text}]"
