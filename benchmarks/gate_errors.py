"""How often a gate is wrong: on simulated timings, and on real work beside a busy process."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.gate_timings import BOUND, CASES, NOISES, benchmarked, gated, naive
from benchmarks.harness import Report, Target, say
from pytest_embedcache.testing.speedup import Outcome, measure

RUNS = 2000
#: Gates in a row on real work, of which the baseline does twelve times as much.
REAL = 50
WORK = 20_000


def run(*, quick: bool = False) -> Report:
    runs = 20 if quick else RUNS
    report = Report(
        f"gate_errors: wrong and undecided verdicts on a bound of {BOUND:g}, of {runs:,} each",
        ("gate, wrong", "gate, undecided", "rounds", "one timing each, wrong", "medians, wrong"),
    )
    worst = dict.fromkeys(CASES, 0.0)
    for name, noise in NOISES.items():
        for ratio in CASES:
            say(f"{name}, true ratio {ratio:.3g}")
            reached = ratio > BOUND
            found = [gated(noise, ratio, seed) for seed in range(runs)]
            outcomes = Counter(one.outcome for one in found)
            wrong = outcomes[Outcome.MISSED if reached else Outcome.REACHED] / runs
            worst[ratio] = max(worst[ratio], wrong)
            others = (
                sum(gate(noise, ratio, seed) != reached for seed in range(runs)) / runs
                for gate in (naive, benchmarked)
            )
            report.row(
                f"{name}, {ratio:.3g} x",
                f"{wrong:.2%}",
                f"{outcomes[Outcome.UNDECIDED] / runs:.2%}",
                f"{sum(one.rounds for one in found) / runs:.0f}",
                *(f"{share:.1%}" for share in others),
            )
    for ratio, share in worst.items():
        kind = "failures" if ratio > BOUND else "passes"
        report.targets.append(Target(f"false {kind}, at most", 1.0, 100 * share, "%"))
    outcomes = Counter(_real(3 if quick else REAL))
    report.targets.append(
        Target(
            "failures of real work, 12 times as much, beside a process that burns a core "
            "(undecided is one, in a serial run)",
            0,
            outcomes[Outcome.MISSED] + outcomes[Outcome.UNDECIDED],
            f"of {sum(outcomes.values())}",
        )
    )
    report.notes.append(
        "the drift sets in at half of the gate's ten seconds, between the two timings of the naive "
        "gate, and between the two tests of pytest-benchmark (one second each, five rounds at "
        "least); the contender takes 5 ms"
    )
    report.notes.append(
        f"real work: {outcomes[Outcome.REACHED]} reached, "
        f"{outcomes[Outcome.UNDECIDED]} undecided, {outcomes[Outcome.MISSED]} missed"
    )
    return report


def _real(gates: int) -> Iterator[Outcome]:
    with _burning():
        for number in range(gates):
            found = measure(lambda: _work(12 * WORK), lambda: _work(WORK), at_least=BOUND)
            say(f"gate {number + 1} of {gates}: {found.line()}")
            yield found.outcome


def _work(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step * step
    return total


@contextmanager
def _burning() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()
