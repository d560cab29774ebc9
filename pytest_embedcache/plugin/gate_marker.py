"""`@pytest.mark.embedcache_speedup(over=, at_least=)`: two tests of pytest-benchmark, compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_embedcache.plugin.benchmark import measured_benchmarks, note, why_off
from pytest_embedcache.plugin.gates import Gates, skip
from pytest_embedcache.plugin.marker import MarkerError
from pytest_embedcache.plugin.waking import GATE_MARKER

__all__ = ["Asked", "asked_of", "judge_marked", "skip_unmeasured"]


@dataclass(frozen=True)
class Asked:
    over: str
    at_least: float


def asked_of(item: Any) -> Asked | None:
    """What the closest marker of a test, or of its definition, asks.

    Raises `MarkerError` for one that cannot be read.
    """
    mark = item.get_closest_marker(GATE_MARKER)
    if mark is None:
        return None
    over, at_least = mark.kwargs.get("over"), mark.kwargs.get("at_least")
    good = (
        not mark.args
        and mark.kwargs.keys() == {"over", "at_least"}
        and isinstance(over, str)
        and isinstance(at_least, (int, float))
        and 0 < at_least < math.inf
    )
    if not good:
        raise MarkerError(
            f"{item.nodeid}: @pytest.mark.{GATE_MARKER} takes over=, the name of another test, and "
            "at_least=, a number above 0"
        )
    return Asked(str(over), float(at_least or 0))


def skip_unmeasured(item: pytest.Item, gates: Gates) -> None:
    """Skip a marked test where pytest-benchmark would call it and measure nothing."""
    asked = asked_of(item)
    if asked is None or gates.mode == "off":
        return
    if (reason := why_off(item.config)) is not None:
        gates.add_unmeasured(item.nodeid, reason, at_least=asked.at_least)
        skip(f"its speed-up over {asked.over} cannot be measured: {reason}")


def judge_marked(session: pytest.Session, gates: Gates) -> int:
    """Compare every marked test that was measured; returns how many have to fail the run.

    Called when the tests are done, before pytest-benchmark writes.
    """
    config = session.config
    if config.option.collectonly or why_off(config) is not None:
        return 0  # then the tests were skipped
    measured = measured_benchmarks(config)
    failed = 0
    for item in session.items:
        asked = asked_of(item)
        if asked is None:
            continue
        if gates.mode == "off":
            reason = "speed-up gates are switched off (--embedcache-gates=off)"
            gates.add_unmeasured(item.nodeid, reason, at_least=asked.at_least)
            continue
        baseline = _named(asked.over, item, session.items)
        if len(baseline) != 1:
            known = f"several tests are called {asked.over!r}" if baseline else None
            reason = known or _missing(asked.over, gates)
            gates.add_unmeasured(item.nodeid, reason, at_least=asked.at_least)
            failed += (bool(baseline) or _misspelt(config, gates)) and gates.mode == "fail"
            continue
        unmeasured = [one.nodeid for one in (item, *baseline) if one.nodeid not in measured]
        if unmeasured:
            reason = f"{unmeasured[0]} was not measured (skipped, failed, or no benchmark)"
            gates.add_unmeasured(item.nodeid, reason, at_least=asked.at_least)
            continue
        failed += _compared(item, baseline[0], asked, measured, gates)
    return failed


def _compared(
    item: pytest.Item, over: pytest.Item, asked: Asked, measured: dict[str, Any], gates: Gates
) -> bool:
    from pytest_embedcache.testing.speedup.compare import compare

    contender = measured[item.nodeid]
    found = compare(measured[over.nodeid].stats.data, contender.stats.data, at_least=asked.at_least)
    row = gates.add(item.nodeid, found, f"over {asked.over}")
    note(contender, row)
    if not found.passed and gates.mode == "report":
        row["reason"] = "only reported (--embedcache-gates=report)"
    return not found.passed and gates.mode == "fail"


def _named(over: str, item: pytest.Item, items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The tests that `over` may mean: by id; else in the same class, module, or anywhere.

    Of a parametrized test of the same name the one with the same parameters, if it has them.
    """
    if found := [other for other in items if other.nodeid == over]:
        return found
    named = [
        other
        for other in items
        if other is not item and over in (other.name, getattr(other, "originalname", None))
    ]
    for place in (item.parent, item.getparent(pytest.Module), None):
        near = [other for other in named if place is None or place in other.listchain()]
        if near:
            break
    else:
        return []
    params = item.name.partition("[")[2]
    alike = [other for other in near if other.name.partition("[")[2] == params]
    return alike if len(near) > 1 and alike else near


def _missing(over: str, gates: Gates) -> str:
    if over in gates.deselected:
        return f"{over} was deselected"
    return f"no test {over!r} was collected in this run"


def _misspelt(config: pytest.Config, gates: Gates) -> bool:
    """Whether a test that is missing cannot just have been left out of this run."""
    return not gates.deselected and not any("::" in argument for argument in config.args)
