"""How long each test took, as its reports say."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_embedcache.plugin.durations import Durations


def rows(*reports: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of reports of one test, by default of phases that passed on a worker."""
    durations = Durations()
    for phase, given in enumerate(reports):
        fields = {
            "outcome": "passed",
            "duration": 1.0,
            "start": 100.0 + phase,
            "stop": 101.0 + phase,
        }
        report: Any = pytest.TestReport(
            "t", ("t", 0, "t"), {}, longrepr=None, when="call", **fields | given
        )
        report.node = SimpleNamespace(gateway=SimpleNamespace(id="gw1"))
        durations.pytest_runtest_logreport(report)
    return durations.rows()


def test_a_test_is_the_sum_of_its_phases() -> None:
    """From the beginning of the first to the end of the last, on the worker that ran it."""
    (row,) = rows({}, {}, {})
    assert row == {
        "test": "t",
        "worker": "gw1",
        "outcome": "passed",
        "seconds": 3.0,
        "start": 100.0,
        "end": 103.0,
    }


@pytest.mark.parametrize(
    ("outcomes", "found"),
    [
        (["passed", "passed", "failed"], "failed"),
        (["passed", "skipped", "passed"], "skipped"),
        (["passed", "rerun", "passed", "passed"], "passed"),
    ],
)
def test_the_worst_phase_is_the_outcome(outcomes: list[str], found: str) -> None:
    """And an outcome that a plugin has made up is none."""
    (row,) = rows(*({"outcome": outcome} for outcome in outcomes))
    assert row["outcome"] == found


def test_a_test_in_which_a_worker_died_was_now() -> None:
    """xdist's report of it has no time, which is not the year 1970."""
    before = time.time()
    (row,) = rows({"outcome": "failed", "start": 0, "stop": 0, "duration": 0})
    assert before <= row["start"] <= row["end"] <= time.time()
