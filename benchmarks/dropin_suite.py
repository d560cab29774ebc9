"""Forty tests with a plain session fixture, not edited: as they are, and with the drop-in."""

from __future__ import annotations

import functools
import statistics
import tempfile
from pathlib import Path

from benchmarks.harness import Report, Samples, Target, in_turns, ratio, say
from benchmarks.suite40 import DROPIN_COLD, DROPIN_WARM, PLAIN, WORKERS, Facts, run_once
from examples.real_model import real_model

#: The slow variants take this many rounds; the warm one, more.
ROUNDS = 3
HELD = ("serial", "-n 8")


def run(*, quick: bool = False) -> Report:
    facts: dict[tuple[str, str], Facts] = {}
    report = Report(
        "dropin_suite: forty tests that nobody edited",
        ("s (median)", "faster", "95 % interval", "MB per process", "torch"),
    )
    with real_model() as model, tempfile.TemporaryDirectory() as folder:

        def run_variant(label: str, how: str) -> float:
            # What is compared with has no plugin of ours.
            blocked = ["-p", "no:embedcache"] if label == PLAIN else []
            found = facts.setdefault((label, how), Facts())
            return run_once(label, how, found, model, Path(folder), *blocked)

        run_variant(DROPIN_WARM, "serial")  # stores the vectors
        for how in ["serial"] if quick else WORKERS:
            cases = {
                label: functools.partial(run_variant, label, how)
                for label in (PLAIN, DROPIN_COLD, DROPIN_WARM)
            }
            for case in cases.values():
                case()  # reads everything from the disk once
            facts.clear()
            samples = in_turns(cases, 1 if quick else ROUNDS, progress=None if quick else say)
            _add(report, how, samples, facts)
    report.notes.append(
        "Rounds in turns; seconds by the clock, of a whole run of pytest. The suite's one model is "
        'SentenceTransformer("all-MiniLM-L6-v2") in a session fixture of its own. MB: the largest '
        "peak of one process (of a worker, where there are some), shared pages included."
    )
    return report


def _add(report: Report, how: str, samples: Samples, facts: dict[tuple[str, str], Facts]) -> None:
    for label, seconds in samples.items():
        times, low, high = ratio(samples[PLAIN], seconds)
        noted = facts[label, how]
        report.row(
            f"{label}, {how}",
            f"{statistics.median(seconds):.2f}",
            f"{times:.1f} x",
            f"{low:.1f} to {high:.1f}",
            f"{max(noted.peaks):.0f}",
            "yes" if noted.torch else "no",
        )
        if label == DROPIN_WARM and how in HELD:
            interval = (low, high)
            report.targets += [
                Target(f"warm, {how}", 20, times, "times", at_least=True, interval=interval),
                Target(f"torch imported, {how}", 0, float(noted.torch), "times"),
            ]
