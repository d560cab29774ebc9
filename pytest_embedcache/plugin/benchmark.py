"""What pytest-benchmark is told of our gates, and what it knows of its own benchmarks.

All that is known here of its inside: `config._benchmarksession`, its list `benchmarks`, and the
class of what is in it.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_embedcache.testing.speedup import Speedup

__all__ = ["EXTRA", "measured_benchmarks", "note", "publish", "why_off"]

#: The key in a benchmark's `extra_info`.
EXTRA = "embedcache_speedup"


def why_off(config: pytest.Config) -> str | None:
    """Why pytest-benchmark measures nothing in this process; None where it does."""
    session = _session(config)
    if session is None:
        return "pytest-benchmark is not installed, or switched off"
    if not session.disabled:
        return None
    if hasattr(config, "workerinput"):
        return "pytest-benchmark measures nothing under xdist"
    return "pytest-benchmark is disabled (--benchmark-disable)"


def _session(config: pytest.Config) -> Any:
    return getattr(config, "_benchmarksession", None)


def measured_benchmarks(config: pytest.Config) -> dict[str, Any]:
    """By test id, what pytest-benchmark measured; each has `stats.data`, in seconds per call."""
    session = _session(config)
    if session is None:
        return {}
    return {
        found.fullname: found
        for found in session.benchmarks
        if found and not found.has_error and EXTRA not in found.extra_info
    }


def note(benchmark: Any, row: dict[str, Any]) -> None:
    """Let a benchmark's entry in the JSON have a gate's verdict."""
    benchmark.extra_info[EXTRA] = {"role": "contender", **row}


def publish(item: Any, found: Speedup, row: dict[str, Any]) -> None:
    """Add both sides of a gate to pytest-benchmark's table and JSON, where it is there and on."""
    if why_off(item.config) is not None or _session(item.config).skip:
        return
    from pytest_benchmark.stats import Metadata

    session = _session(item.config)
    names = f" {row['name']}" if row["name"] else ""
    callspec = getattr(item, "callspec", None)
    for role, samples in (("baseline", found.baseline), ("contender", found.contender)):
        fixture = SimpleNamespace(
            name=f"{item.name}{names} ({role})",
            fullname=f"{item.nodeid}{names} ({role})",
            group=f"{item.name}{names}",
            param=callspec.id if callspec else None,
            params=callspec.params if callspec else None,
            extra_info={EXTRA: {"role": role, **row}},
            cprofile_stats=None,
            has_error=False,
        )
        options = {"disable_gc": True, "timer": time.perf_counter, "warmup": True}
        entry = Metadata(fixture, iterations=1, options=options)
        for seconds in samples:
            entry.update(seconds)
        session.benchmarks.append(entry)
