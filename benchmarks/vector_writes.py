"""Several processes that write into one SQLite store at the same time."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks.children import start_child
from benchmarks.harness import Report, Target, in_turns, say
from benchmarks.writers import BATCH, COUNT, DIMENSION, FINGERPRINT, items
from pytest_embedcache.vectors.sqlite import SqliteStore

PROCESSES = (1, 2, 8)
ROUNDS = 5
MS = 1e3


class Tried:
    """What the runs with one number of processes came to."""

    def __init__(self, processes: int, count: int) -> None:
        self.processes = processes
        self.count = count
        self.batches: list[float] = []
        self.lost = self.wrong = self.checked = self.bytes = 0

    def run(self) -> float:
        """Seconds from the first process's first write to the last one's last."""
        with tempfile.TemporaryDirectory() as folder:
            written = [self._start(folder, number) for number in range(self.processes)]
            for child in written:
                assert child.stdout is not None
                if child.stdout.readline() != "ready\n":
                    raise RuntimeError(f"a writer did not start:\n{child.communicate()[1]}")
            for child in written:
                assert child.stdin is not None
                child.stdin.write("go\n")
                child.stdin.flush()
            told = [self._end(child) for child in written]
            self._check(folder)
        self.batches += [seconds for one in told for seconds in one["batches"]]
        return max(one["end"] for one in told) - min(one["begin"] for one in told)

    def _start(self, folder: str, number: int) -> subprocess.Popen[str]:
        return start_child("benchmarks.writers", folder, str(number), str(self.count))

    def _end(self, child: subprocess.Popen[str]) -> dict[str, float | list[float]]:
        output, errors = child.communicate()
        if child.returncode:
            raise RuntimeError(f"a writer failed:\n{errors}")
        return dict(json.loads(output))

    def _check(self, folder: str) -> None:
        """Every vector of every process, byte for byte, by a store of this process."""
        store = SqliteStore(folder)
        for number in range(self.processes):
            expected = items(number, self.count)
            found = store.get_many(FINGERPRINT, list(expected))
            self.checked += len(expected)
            self.lost += len(expected) - len(found)
            self.wrong += sum(
                vector.tobytes() != expected[key].tobytes() for key, vector in found.items()
            )
        self.bytes = sum(file.stat().st_size for file in Path(folder).rglob("vectors.sqlite3*"))
        store.close()


def run(*, quick: bool = False) -> Report:
    count = 200 if quick else COUNT
    tried = {_name(number): Tried(number, count) for number in PROCESSES}
    samples = in_turns(
        {name: one.run for name, one in tried.items()},
        1 if quick else ROUNDS,
        progress=None if quick else say,
    )
    report = Report(
        f"vector_writes: {count:,} vectors from each process into one store",
        ("s (median)", "vectors per second", "ms a batch (median)", "longest", "MB on disk"),
    )
    for name, one in tried.items():
        seconds = statistics.median(samples[name])
        report.row(
            name,
            f"{seconds:.2f}",
            f"{one.processes * count / seconds:,.0f}",
            f"{statistics.median(one.batches) * MS:.0f}",
            f"{max(one.batches) * MS:.0f}",
            f"{one.bytes / 1e6:.0f}",
        )
    checked = sum(one.checked for one in tried.values())
    report.targets += [
        Target(f"lost, of {checked:,} vectors", 0, sum(one.lost for one in tried.values()), "lost"),
        Target("another than was written", 0, sum(one.wrong for one in tried.values()), "wrong"),
    ]
    report.notes += [
        f"{len(samples[_name(1)])} rounds in turns, each with a new store; {DIMENSION} "
        f"dimensions, {BATCH:,} vectors to a batch. A batch's time has the wait for the others' in"
        " it. The processes begin together; what starting one takes is not in the seconds.",
        "Every vector is read back by another process, and compared byte for byte.",
    ]
    return report


def _name(processes: int) -> str:
    return f"{processes} process{'es' if processes > 1 else ''}"
