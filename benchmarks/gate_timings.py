"""Timings that a machine could give, without a machine: for the error rates of gates.

The noise is of the kinds that shared machines have: log-normal, a drift of 26 % between the halves
of a run, 2 % of the timings five times as long, and two modes, of which the slower takes a quarter
more.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_embedcache.testing.speedup import Speedup, measure

__all__ = ["BOUND", "CASES", "NOISES", "Machine", "Noise", "benchmarked", "gated", "naive"]

BOUND = 10.0
#: True ratios, 1.2 times above the bound and below it.
CASES = (1.2 * BOUND, BOUND / 1.2)
#: Seconds that the contender takes; the baseline then takes what a second load of MiniLM does.
QUICK = 0.005
#: Seconds that the gate has: its default.
BUDGET = 10.0


@dataclass(frozen=True)
class Noise:
    """How timings vary. `drift`, `spike` and `mode` are factors, 1 for none."""

    sigma: float
    drift: float = 1.0
    spike: float = 1.0
    mode: float = 1.0

    def factor(self, rng: random.Random) -> float:
        factor = rng.lognormvariate(0.0, self.sigma)
        if self.spike != 1.0 and rng.random() < 0.02:
            factor *= self.spike
        if self.mode != 1.0 and rng.random() < 0.5:
            factor *= self.mode
        return factor


_KINDS: dict[str, dict[str, Any]] = {
    "log-normal": {},
    "drift of 26 %": {"drift": 1.26},
    "2 % spikes of 5x": {"spike": 5.0},
    "two modes": {"mode": 1.25},
    "all of these": {"drift": 1.26, "spike": 5.0, "mode": 1.25},
}
#: Each kind with both sigmas.
NOISES = {
    f"{kind}, sigma {sigma}": Noise(sigma, **factors)
    for sigma in (0.05, 0.2)
    for kind, factors in _KINDS.items()
}


class Machine:
    """A baseline and a contender that take simulated time, and the clock that shows it.

    The drift sets in after half of `length` seconds.
    """

    def __init__(self, noise: Noise, ratio: float, seed: int, *, length: float = BUDGET) -> None:
        self.now = 0.0
        self._noise, self._length = noise, length
        self._rng = random.Random(seed)
        self._slow = ratio * QUICK

    def clock(self) -> float:
        return self.now

    def baseline(self) -> None:
        self._spend(self._slow)

    def contender(self) -> None:
        self._spend(QUICK)

    def _spend(self, seconds: float) -> None:
        late = 2 * self.now > self._length
        self.now += seconds * self._noise.factor(self._rng) * (self._noise.drift if late else 1.0)


def gated(noise: Noise, ratio: float, seed: int) -> Speedup:
    """What the gate, with its defaults, finds on such a machine."""
    machine = Machine(noise, ratio, seed)
    return measure(
        machine.baseline,
        machine.contender,
        at_least=BOUND,
        timer=machine.clock,
        clock=machine.clock,
        rng=random.Random(seed),
        collect=lambda: None,
    )


def _timing(machine: Machine, call: Callable[[], None]) -> float:
    before = machine.now
    call()
    return machine.now - before


def naive(noise: Noise, ratio: float, seed: int) -> bool:
    """Whether a gate passes that takes one timing of each; the drift sets in between the two."""
    machine = Machine(noise, ratio, seed, length=ratio * QUICK)
    return _timing(machine, machine.baseline) / _timing(machine, machine.contender) >= BOUND


def benchmarked(noise: Noise, ratio: float, seed: int) -> bool:
    """Whether the ratio of pytest-benchmark's medians passes: one function after the other.

    By its defaults each is measured for a second, and five times at least.
    """
    machine = Machine(noise, ratio, seed, length=2.0)
    medians = []
    for until, call in ((1.0, machine.baseline), (2.0, machine.contender)):
        samples = [_timing(machine, call) for _ in range(5)]
        while machine.now < until:
            samples.append(_timing(machine, call))
        medians.append(statistics.median(samples))
    return medians[0] / medians[1] >= BOUND
