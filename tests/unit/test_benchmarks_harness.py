"""The harness of the benchmarks: turns, intervals, and what is said about a target."""

from __future__ import annotations

from types import ModuleType

import pytest
from support.benchmarks import load


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    return load("harness")


def test_every_case_is_called_once_in_every_round(harness: ModuleType) -> None:
    """Rounds hold every case once, in more than one order, and keep each case's results in turn."""
    called: list[str] = []

    def case(name: str) -> float:
        called.append(name)
        return float(len(called))

    samples = harness.in_turns({name: lambda name=name: case(name) for name in "abc"}, 20)
    rounds = ["".join(called[i : i + 3]) for i in range(0, 60, 3)]
    assert {"".join(sorted(turn)) for turn in rounds} == {"abc"}
    assert len(set(rounds)) > 2
    assert samples["a"] == [i + 1.0 for i, name in enumerate(called) if name == "a"]


def test_a_ratio_is_that_of_the_medians_with_an_interval_around_it(harness: ModuleType) -> None:
    """One wild round moves neither the ratio nor, by much, its interval."""
    slow, quick = [10.0] * 20 + [500.0], [2.0] * 21
    assert harness.ratio(slow, quick) == (5.0, 5.0, 5.0)
    value, low, high = harness.ratio([9.0, 10.0, 11.0, 12.0, 13.0], [1.0] * 5)
    assert low < value == 11.0 < high


def test_a_difference_is_taken_round_by_round(harness: ModuleType) -> None:
    """What slows a whole round down is in both of its values, and so not in the difference."""
    less = [1.0, 100.0, 3.0, 50.0, 2.0]
    assert harness.difference([value + 0.5 for value in less], less) == (0.5, 0.5, 0.5)


def test_an_interval_is_the_same_in_every_run(harness: ModuleType) -> None:
    """The bootstrap draws from a seed of its own."""
    values = [float(i * i % 17) + 1 for i in range(21)]
    assert harness.ratio(values, [1.0] * 21) == harness.ratio(values, [1.0] * 21)


@pytest.mark.parametrize(
    ("found", "at_least", "met"), [(3.0, False, True), (3.1, False, False), (3.0, True, True)]
)
def test_a_target_says_whether_it_is_met(
    harness: ModuleType, found: float, at_least: bool, met: bool
) -> None:
    """A limit itself is met, from either side, and the last line speaks for all targets."""
    target = harness.Target("a hit", 3.0, found, "µs", at_least=at_least)
    assert target.met is met
    report = harness.Report("speed", ("µs",), targets=[target])
    report.row("ours", "1.0")
    *_, last = harness.render(report)
    assert last == f"speed: {'met' if met else 'missed'}"
    assert ("MISSED" in target.line()) is not met
