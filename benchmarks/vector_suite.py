"""Forty tests whose vectors are stored, against the same tests without a model."""

from __future__ import annotations

import functools
import statistics
import tempfile
from pathlib import Path

from benchmarks.harness import Report, Samples, Target, difference, in_turns, ratio, say
from benchmarks.suite40 import COLD, EMPTY, PLAIN, WARM, WORKERS, Facts, run_once
from examples.real_model import real_model

#: The slow variants take this many rounds; the two that are compared to the hundredth, more.
ROUNDS = 3
MORE_ROUNDS = 21
#: Seconds that the warm suite may take more than the empty one.
AT_MOST_MORE = {"serial": 0.10, "-n 8": 0.40}


def run(*, quick: bool = False) -> Report:
    facts: dict[tuple[str, str], Facts] = {}
    report = Report(
        "vector_suite: forty tests whose vectors are stored",
        ("s (median)", "on top of empty", "faster than session fixture", "95 % interval", "MB"),
    )
    with real_model() as model, tempfile.TemporaryDirectory() as folder:

        def run_variant(label: str, how: str) -> float:
            # What is compared with has no plugin of ours.
            blocked = ["-p", "no:embedcache"] if label in (PLAIN, EMPTY) else []
            found = facts.setdefault((label, how), Facts())
            return run_once(label, how, found, model, Path(folder), *blocked)

        run_variant(WARM, "serial")  # stores the vectors
        for how in ["serial"] if quick else WORKERS:
            cases = {
                label: functools.partial(run_variant, label, how)
                for label in (EMPTY, WARM, PLAIN, COLD)
            }
            for case in cases.values():
                case()  # reads everything from the disk once
            facts.clear()
            few, many = (1, 2) if quick else (ROUNDS, MORE_ROUNDS)
            progress = None if quick else say
            samples = in_turns(cases, few, progress=progress)
            pair = {label: cases[label] for label in (EMPTY, WARM)}
            for label, seconds in in_turns(pair, many - few, progress=progress).items():
                samples[label] += seconds
            _add(report, how, samples, facts)
    report.notes += [
        f"{few} rounds in turns, and {many - few} more of the empty and the warm suite; seconds by "
        "the clock, of a whole run of pytest. No plugin but xdist and, for cold and warm, ours.",
        "On top of empty: round by round, the median. MB: the largest peak of one process (of a "
        "worker, where there are some), shared pages included.",
    ]
    return report


def _add(report: Report, how: str, samples: Samples, facts: dict[tuple[str, str], Facts]) -> None:
    plain = samples[PLAIN]
    for label, seconds in samples.items():
        few = seconds[: len(plain)]
        # The ratio of all rounds, with the interval of those that the slow ones took part in.
        times = statistics.median(plain) / statistics.median(seconds)
        _, low, high = ratio(plain, few)
        more, *_ = difference(few, samples[EMPTY][: len(few)])
        if label == WARM:
            more, *between = difference(seconds, samples[EMPTY])
            _targets(report, how, more, (between[0], between[1]), times, (low, high))
        report.row(
            f"{label}, {how}",
            f"{statistics.median(seconds):.3f}",
            f"{more:.3f}",
            f"{times:.1f} x",
            f"{low:.1f} to {high:.1f}",
            f"{max(facts[label, how].peaks):.0f}",
        )
    warm = facts[WARM, how]
    report.targets += [
        Target(f"peak memory of a process, {how}", 60, max(warm.peaks), "MB"),
        Target(f"torch imported, {how}", 0, float(warm.torch), "times"),
    ]


def _targets(
    report: Report,
    how: str,
    more: float,
    between: tuple[float, float],
    times: float,
    interval: tuple[float, float],
) -> None:
    if how not in AT_MOST_MORE:
        return
    report.targets += [
        Target(f"warm, on top of empty, {how}", AT_MOST_MORE[how], more, "s", interval=between),
        Target(
            f"warm against the session fixture, {how}",
            *(20, times, "times"),
            at_least=True,
            interval=interval,
        ),
    ]
