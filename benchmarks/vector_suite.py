"""Forty tests with an embedding model: a plain session fixture, ours cold, ours warm, no model.

Each is a fresh pytest, alone and on 2 and 8 workers; with the plain fixture, and without a model,
our plugin is blocked. The runs take turns, and every figure is a median. What a worker weighs is
told by the worker itself, at its end, in runs that are not timed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.harness import interleave, interval, median, number, ratio, table, target
from benchmarks.world import World, the_world

SUITE = Path(__file__).parent / "suite40"
ROUNDS = 5
#: Of those two whose difference is wanted to the hundredth of a second.
MORE_ROUNDS = 15

#: Seconds that a warm suite may take more than one without a model, by the number of workers.
AT_MOST_MORE = {0: 0.10, 8: 0.40}
TIMES_FASTER = 20
MEGABYTES = 60


def run() -> None:
    with the_world() as world:
        shutil.copytree(SUITE, world.scratch / "suite40")
        plain = partial(_suite, world, "test_meaning.py", "-p", "no:embedcache")
        candidates: dict[str, Callable[..., float]] = {
            "plain": partial(plain, BENCHMARK_PLAIN="1"),
            "cold": partial(_cold, world),
            "warm": partial(_suite, world, "test_meaning.py"),
            "empty": partial(_suite, world, "test_empty.py", "-p", "no:embedcache"),
        }
        for suite in candidates.values():  # compiles, reads from the disk, fills the store
            suite(workers=0)
        for workers in (0, 2, 8):
            _compare(candidates, workers)
        for workers in (0, 2, 8):
            _weigh(world, workers)


def _suite(world: World, file: str, *options: str, workers: int, **changes: str) -> float:
    split = ("-n", str(workers)) if workers else ()
    seconds, output = world.pytest(f"suite40/{file}", *split, *options, **changes)
    assert "40 passed" in output, output
    return seconds


def _cold(world: World, *, workers: int) -> float:
    with_another = str(world.scratch / "cold")
    seconds = _suite(world, "test_meaning.py", workers=workers, EMBEDCACHE_DIR=with_another)
    shutil.rmtree(with_another)
    return seconds


def _compare(candidates: dict[str, Callable[..., float]], workers: int) -> None:
    here = {name: partial(suite, workers=workers) for name, suite in candidates.items()}
    print(f"-n {workers}" if workers else "serial")
    found = interleave(here, ROUNDS, warm_up=False)
    more = interleave({name: here[name] for name in ("warm", "empty")}, MORE_ROUNDS, warm_up=False)
    for name, seconds in more.items():
        found[name] += seconds
    rows = []
    for name, seconds in found.items():
        low, high = interval(seconds)
        between = f"{number(low)} to {number(high)}"
        rows.append((name, median(seconds), between, ratio(found["plain"], seconds)))
    table(("", "seconds", "95 % of medians", "times as fast as plain"), rows)
    mode = f"with -n {workers}" if workers else "serial"
    if workers in AT_MOST_MORE:
        more_than_empty = median(found["warm"]) - median(found["empty"])
        target(f"warm, more than empty, {mode}", more_than_empty, AT_MOST_MORE[workers], "s")
        faster = ratio(found["plain"], found["warm"])
        target(f"warm against plain, {mode}", faster, TIMES_FASTER, "times", at_least=True)
    print()


def _weigh(world: World, workers: int) -> None:
    """What processes of a warm run, and of one without a model, have in memory at their end."""
    mode = f"-n {workers}" if workers else "serial"
    rows = []
    for name, options in (("test_meaning.py", ()), ("test_empty.py", ("-p", "no:embedcache"))):
        reports = world.scratch / "reports"
        reports.mkdir()
        _suite(world, name, *options, workers=workers, BENCHMARK_REPORT=str(reports))
        found = [json.loads(file.read_text()) for file in reports.iterdir()]
        shutil.rmtree(reports)
        found = [report for report in found if bool(report["worker"]) == bool(workers)]
        if not found or "resident" not in found[0]:
            print(f"  memory, {mode}: skipped, this system has no /proc to read it from")
            return
        rows.append([max(report[field] for report in found) for field in ("resident", "peak")])
        if name == "test_meaning.py":
            imported = sum(report["torch"] for report in found)
            target(f"processes that imported torch, {mode}", imported, 0)
    (resident, peak), (empty, _) = rows
    target(f"resident memory of the largest process, {mode}", resident, MEGABYTES, "MB")
    print(f"          (at its peak {number(peak)} MB; without a model {number(empty)} MB)")
