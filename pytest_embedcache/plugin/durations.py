"""How long each test took and where, for a report: as pytest tells it, for all workers."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["Durations"]

#: Later ones win: a test that passed and whose teardown failed did not pass.
_ORDER = ("passed", "skipped", "failed")


class Durations:
    """A plugin of the process that reports; registered only where a report was asked for."""

    def __init__(self) -> None:
        self._tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of a test is over, here or on a worker."""
        node = getattr(report, "node", None)  # xdist's
        fresh = {
            "test": report.nodeid,
            "worker": node.gateway.id if node is not None else "main",
            "outcome": report.outcome,
            "seconds": 0.0,
            "start": report.start,
            "end": report.stop,
        }
        row = self._tests.setdefault(report.nodeid, fresh)
        row["seconds"] += report.duration
        row["start"] = min(row["start"], report.start)
        row["end"] = max(row["end"], report.stop)
        row["outcome"] = max(row["outcome"], report.outcome, key=_ORDER.index)

    def rows(self) -> list[dict[str, Any]]:
        """One for each test, in built-in types; times are those of `time.time()`."""
        return list(self._tests.values())
