"""How long each test took and where, for a report: as pytest tells it, for all workers."""

from __future__ import annotations

import time
from typing import Any

import pytest

__all__ = ["Durations"]

#: Later ones win: a test that passed and whose teardown failed did not pass. Others, which plugins
#: have made up, come before all.
_ORDER = ("passed", "skipped", "failed")


class Durations:
    """A plugin of the process that reports; registered only where a report was asked for."""

    def __init__(self) -> None:
        self._tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of a test is over, here or on a worker."""
        node = getattr(report, "node", None)  # xdist's
        end = report.stop or time.time()  # that of a test in which a worker died has none
        start = report.start or end - report.duration
        fresh = {
            "test": report.nodeid,
            "worker": node.gateway.id if node is not None else "main",
            "outcome": report.outcome,
            "seconds": 0.0,
            "start": start,
            "end": end,
        }
        row = self._tests.setdefault(report.nodeid, fresh)
        row["seconds"] += report.duration
        row["start"] = min(row["start"], start)
        row["end"] = max(row["end"], end)
        row["outcome"] = max(row["outcome"], report.outcome, key=_rank)

    def rows(self) -> list[dict[str, Any]]:
        """One for each test, in built-in types; times are those of `time.time()`."""
        return list(self._tests.values())


def _rank(outcome: str) -> int:
    return _ORDER.index(outcome) if outcome in _ORDER else -1
