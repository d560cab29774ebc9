"""What a report shows, from the merged counts of a run; a pure function of plain dicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_embedcache.plugin.counts import Counts
from pytest_embedcache.plugin.money import bills

__all__ = ["SLOWEST", "gather"]

#: Tests, and texts, that are listed.
SLOWEST = 15
#: Stretches of tests that are drawn for one worker; more are joined, the closest first.
_DRAWN = 300
#: Settings that switch something off, and what.
_SWITCHES = {
    ("mode", "live"): "no vector is read from a store, and none is kept",
    ("mode", "replay"): "nothing is computed; a text that is not recorded fails",
    ("mode", "fake"): "no real model is used, but fakes",
    ("gates", "off"): "no speed-up is measured",
    ("gates", "report"): "a speed-up that is not reached fails no test",
    ("threads", "off"): "torch takes as many threads as it likes",
    ("no_models", "True"): "loading a real model is an error",
}
Row = dict[str, Any]


def gather(
    merged: Counts,
    tests: Sequence[Row],
    *,
    project: str,
    settings: Iterable[tuple[str, str, str]] = (),
    lines: Iterable[str] = (),
    past_tokens: Mapping[str, float] | None = None,
    prices: Mapping[str, str] | None = None,
    services: frozenset[str] = frozenset(),
) -> Row:
    """All that is on the page, in the order in which it is shown.

    Args:
        merged: The counts of all processes, with their totals.
        tests: The rows of `Durations`.
        project: Its name.
        settings: (name, value, where it was set) of each that is no default.
        lines: What the end of the run has said beside the counts.
        past_tokens, prices, services: As for `money.bills`.
    """
    timelines: Mapping[str, Row] = merged.get("timelines", {})
    settings = list(settings)
    lanes = _lanes(timelines, tests, merged["silent"])
    begun = [lane["start"] for lane in lanes if lane["start"] is not None]
    ended = [lane["end"] for lane in lanes if lane["end"] is not None]
    return {
        "project": project,
        "start": min(begun, default=None),
        "end": max(ended, default=None),
        "outcomes": dict(Counter(test["outcome"] for test in tests)),
        "processes": merged["processes"],
        "models": merged["models"],
        "host": merged.get("host"),
        "vectors": merged["vectors"],
        "totals": merged["totals"],
        "bills": bills(merged["vectors"], past_tokens or {}, prices or {}, services),
        "lanes": lanes,
        "tests": _slowest_tests(tests, timelines),
        "texts": _slowest_texts(timelines),
        "gates": merged["gates"],
        "off": _off(merged, settings, lines),
        "threads": merged["threads"],
        "settings": settings,
    }


def _lanes(timelines: Mapping[str, Row], tests: Sequence[Row], silent: Sequence[str]) -> list[Row]:
    """One for each process that did anything, in the order of their names."""
    by_worker: dict[str, list[Row]] = {}
    for test in tests:
        by_worker.setdefault(test["worker"], []).append(test)
    names = {*timelines, *by_worker, *silent}
    lanes = []
    for name in sorted(names, key=lambda name: (len(name), name)):
        timeline = timelines.get(name, {"loads": [], "computing": []})
        mine = by_worker.get(name, [])
        loads, computing = timeline["loads"], timeline["computing"]
        starts = [row["start"] for row in (*mine, *loads)] + [start for start, _, _ in computing]
        ends = [row["end"] for row in (*mine, *loads)] + [end for _, end, _ in computing]
        if not starts and name not in silent:
            continue
        lanes.append(
            {
                "name": name,
                "start": min(starts, default=None),
                "end": max(ends, default=None),
                "tests": len(mine),
                "stretches": _stretches(mine),
                "loads": loads,
                "computing": computing,
                "silent": name in silent,
            }
        )
    return lanes


def _stretches(tests: Iterable[Row]) -> list[Row]:
    """Tests as they are drawn: one by one, or those that passed joined with their neighbours."""
    found = [
        {"start": test["start"], "end": test["end"], "tests": 1, "failed": failed, "name": name}
        for test in tests
        for failed, name in [(test["outcome"] == "failed", test["test"])]
    ]
    found.sort(key=lambda row: row["start"])
    gap = 1e-4
    while len(found) > _DRAWN:
        joined = found[:1]
        for row in found[1:]:
            last = joined[-1]
            if row["failed"] == last["failed"] and row["start"] - last["end"] <= gap:
                end = max(row["end"], last["end"])
                joined[-1] = last | {"end": end, "tests": last["tests"] + row["tests"]}
            else:
                joined.append(row)
        if len(joined) == len(found) and gap > 1e9:
            break  # they pass and fail in turns
        found, gap = joined, gap * 4
    return found


def _slowest_tests(tests: Sequence[Row], timelines: Mapping[str, Row]) -> list[Row]:
    slowest = sorted(tests, key=lambda test: -test["seconds"])[:SLOWEST]
    rows = []
    for test in slowest:
        in_models = timelines.get(test["worker"], {}).get("tests", {}).get(test["test"], (0.0, 0.0))
        rows.append({**test, "loading": in_models[0], "computing": in_models[1]})
    return rows


def _slowest_texts(timelines: Mapping[str, Row]) -> list[Row]:
    """A text that several processes have computed is listed once, at its slowest."""
    slowest: dict[tuple[str, str], Row] = {}
    for process, timeline in timelines.items():
        for row in timeline["texts"]:
            key = row["model"], row["digest"]
            if key not in slowest or slowest[key]["seconds"] < row["seconds"]:
                slowest[key] = {**row, "worker": process}
    return sorted(slowest.values(), key=lambda row: -row["seconds"])[:SLOWEST]


def _off(
    merged: Counts, settings: Iterable[tuple[str, str, str]], lines: Iterable[str]
) -> list[tuple[str, int]]:
    """What was switched off, or went the slow way, with the reason; and how often."""
    found = [
        (f"{name}={value} ({source}): {_SWITCHES[name, value]}", 1)
        for name, value, source in settings
        if (name, value) in _SWITCHES
    ]
    found += [
        (f"no counts from {name}: it crashed or was stopped, and the totals are without it", 1)
        for name in merged["silent"]
    ]
    if merged["threads"] is not None:
        held = merged["threads"]
        found.append(
            (
                f"torch was held to {held} thread{'s' * (held != 1)} in each process, which share "
                "the cores",
                1,
            )
        )
    found += merged["notices"].items()
    reasons = Counter(
        f"the gate of {row['test']} was {row['outcome']}: {row['reason']}"
        for row in merged["gates"]
        if row.get("reason")
    )
    found += reasons.items()
    found += [(line, 1) for line in lines]
    return found
