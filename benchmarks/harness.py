"""What the benchmarks share: a fair order, honest medians, a target beside what was measured."""

from __future__ import annotations

import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata

__all__ = ["interleave", "interval", "load", "machine", "median", "ratio", "table", "target"]

#: Libraries whose version changes a figure.
_LIBRARIES = (
    *("pytest-embedcache", "pytest", "pytest-xdist", "numpy", "torch", "sentence-transformers"),
    *("transformers", "redis", "langchain-classic", "langchain", "diskcache"),
)

median = statistics.median


def machine() -> Iterator[str]:
    """What the figures depend on, without anything that names the machine or its user."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"{_processor()}, {cores} cores, {platform.system()}; {load()}"
    yield f"Python {platform.python_version()}, " + ", ".join(_versions())


def load() -> str:
    """What else the machine is doing; above its number of cores, figures mean little."""
    if not hasattr(os, "getloadavg"):
        return "load unknown"
    return f"load average {os.getloadavg()[0]:.1f}"


def _versions() -> Iterator[str]:
    for name in _LIBRARIES:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def interleave(
    candidates: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """What each candidate returned in each round, by its name.

    All take their turn in every round, each round in another order, so that what else the machine
    does falls on all alike. With `warm_up` a round goes before that does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    order = random.Random(0)
    for number in range(rounds + warm_up):
        order.shuffle(names)
        for name in names:
            value = candidates[name]()
            if number >= warm_up:
                found[name].append(value)
    return found


def interval(values: Sequence[float], *, resamples: int = 2000) -> tuple[float, float]:
    """Where the median lies with 95 % (bootstrap, percentiles; the same for the same values)."""
    draw = random.Random(0)
    medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(resamples))
    return medians[int(0.025 * resamples)], medians[int(0.975 * resamples)]


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times as fast, by the medians."""
    return median(slow) / median(fast)


def target(
    name: str, measured: float, bound: float, unit: str = "", *, at_least: bool = False
) -> bool:
    """Print a figure beside its target, and whether that is met."""
    met = measured >= bound if at_least else measured <= bound
    words = "at least" if at_least else "at most"
    unit = f" {unit}" if unit else ""
    print(
        f"  {'met' if met else 'MISSED':<7} {name}: {number(measured)}{unit} "
        f"(target: {words} {bound:g}{unit})"
    )
    return met


def number(value: float) -> str:
    """Three digits that matter."""
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a head: the first column to the left, the others to the right."""
    shown = [[number(c) if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    for row in [list(head), *shown]:
        first, *others = zip(row, widths, strict=True)
        print("  " + "  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)]))
