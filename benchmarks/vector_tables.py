"""What somebody sees who tries the cache: a first run, a second one, a new text, a restart."""

from __future__ import annotations

import json
import statistics
import tempfile

from benchmarks.children import call_in_child
from benchmarks.demonstration import FIRST, MODEL_LOAD
from benchmarks.harness import Report, say
from examples.real_model import real_model

COUNTS = (5, 1000)
ROUNDS = 5
RESTARTED = "restarted"
MS = 1e3

#: (number of texts, whether the process is a second one, step)
Step = tuple[int, bool, str]


def run(*, quick: bool = False) -> Report:
    seconds: dict[Step, list[float]] = {}
    counts: dict[Step, tuple[int, int]] = {}
    rounds = 1 if quick else ROUNDS
    with real_model():
        for number in range(rounds):
            for count in COUNTS:
                for step, taken, found, computed in _both_processes(count):
                    seconds.setdefault(step, []).append(taken)
                    counts[step] = found, computed
                if not quick:
                    say(f"round {number + 1} of {rounds}: {count} texts")
    report = Report(
        "vector_tables: the same texts again, a new one, and after a restart",
        ("ms (median)", "faster than the first run", "found", "computed"),
    )
    for step, samples in seconds.items():
        count, again, name = step
        first = statistics.median(seconds[count, False, FIRST])
        median = statistics.median(samples)
        where = f"{count:,} texts{', restarted' if again else ''}"
        compared = f"{first / median:,.1f} x" if name != MODEL_LOAD else ""
        found, computed = counts[step]
        report.row(f"{where}: {name}", f"{median * MS:,.2f}", compared, f"{found}", f"{computed}")
    report.notes += [
        f"{rounds} rounds; for each number of texts an empty store, a process, and a second process"
        " on the same store. Loading the model has the import of torch in it, and one short text.",
        "After the restart no model is loaded until a text is new: that row has the import, the "
        "load and the text. The rows above it are those of a process without torch.",
    ]
    return report


def _both_processes(count: int) -> list[tuple[Step, float, int, int]]:
    steps: list[tuple[Step, float, int, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        for again in (False, True):
            output = call_in_child(
                "benchmarks.demonstration",
                *(str(count), RESTARTED if again else "fresh"),
                EMBEDCACHE_DIR=folder,
                HF_HUB_OFFLINE="1",
                HF_HUB_DISABLE_PROGRESS_BARS="1",
            )
            steps += [((count, again, name), *told) for name, *told in json.loads(output)]
    return steps
