"""How often the gate is wrong, on simulated timings of known truth.

The same with 2,000 runs of each, and more kinds of noise: `python -m benchmarks gate_errors`.
"""

from __future__ import annotations

from collections import Counter
from types import ModuleType

import pytest

from pytest_embedcache.testing.speedup import Outcome

RUNS = 300
ABOVE, BELOW = 12.0, 10.0 / 1.2
KINDS = ("log-normal", "drift of 26 %", "2 % spikes of 5x", "two modes")
NOISES = [f"{kind}, sigma {sigma}" for kind in KINDS for sigma in (0.05, 0.2)]


def outcomes(timings: ModuleType, noise: str, ratio: float, runs: int) -> Counter[Outcome]:
    return Counter(
        timings.gated(timings.NOISES[noise], ratio, seed).outcome for seed in range(runs)
    )


@pytest.mark.parametrize("noise", NOISES)
def test_at_most_one_verdict_in_a_hundred_is_wrong(timings: ModuleType, noise: str) -> None:
    """Neither a true speed-up of 1.2 times the bound is missed, nor one of the bound / 1.2 passed;
    nearly all are decided in the default time."""
    above = outcomes(timings, noise, ABOVE, RUNS)
    below = outcomes(timings, noise, BELOW, RUNS)
    assert above[Outcome.MISSED] <= RUNS / 100
    assert below[Outcome.REACHED] <= RUNS / 100
    assert above[Outcome.REACHED] >= 0.95 * RUNS
    assert below[Outcome.MISSED] >= 0.95 * RUNS


@pytest.mark.stress
@pytest.mark.parametrize("noise", NOISES)
def test_the_same_in_two_thousand_runs(timings: ModuleType, noise: str) -> None:
    """At most 1 % false failures, and at most 1 % false passes."""
    assert outcomes(timings, noise, ABOVE, 2000)[Outcome.MISSED] <= 20
    assert outcomes(timings, noise, BELOW, 2000)[Outcome.REACHED] <= 20


def test_on_the_bound_itself_it_is_wrong_in_one_of_a_hundred(timings: ModuleType) -> None:
    """A true ratio that is the bound: the hardest case for one who looks after every round."""
    found = outcomes(timings, "log-normal, sigma 0.2", 10.0, RUNS)
    assert found[Outcome.REACHED] + found[Outcome.MISSED] <= RUNS / 100
    assert found[Outcome.UNDECIDED] >= 0.99 * RUNS


def test_the_simulated_timings_are_noise_to_others(timings: ModuleType) -> None:
    """One timing of each errs often on them, and medians taken one after the other under drift."""
    noise = timings.NOISES["drift of 26 %, sigma 0.2"]
    naive = sum(timings.naive(noise, ABOVE, seed) for seed in range(RUNS))
    medians = sum(timings.benchmarked(noise, ABOVE, seed) for seed in range(RUNS))
    assert naive < 0.9 * RUNS
    assert medians < 0.9 * RUNS


def test_the_simulation_has_the_gates_default_time(timings: ModuleType) -> None:
    """The drift sets in at half of it."""
    from pytest_embedcache.testing.speedup.gate import MAX_SECONDS

    assert timings.BUDGET == MAX_SECONDS
