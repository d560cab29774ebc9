"""The counts of a run: taken in each process, merged in one, as pure functions on plain dicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["merge", "no_counts", "serialize", "with_savings"]

Counts = dict[str, Any]

_LOADING = ("gets", "uses", "loads", "failures", "evictions", "load_seconds", "import_seconds")
_VECTORS = (
    *("asked", "computed", "shared", "bypassed", "untrusted", "encode_seconds"),
    *("billed", "tokens"),
)


def serialize(
    models: Iterable[Mapping[str, Any]],
    uses: Mapping[tuple[str, str], int],
    vectors: Iterable[Mapping[str, Mapping[str, Any]]],
    *,
    threads: int | None,
    notices: Mapping[str, int],
    gates: Iterable[Mapping[str, Any]] = (),
) -> Counts:
    """What one process found, in built-in types.

    `models` are rows of `ModelStats`; several registries may list one model. `uses` are tests that
    had a model, by its name and device. `vectors` are `Tallies`, by model. `threads` is the cap
    that was set, if one was. `gates` are the rows of `Gates`.
    """
    rows: dict[tuple[str, str], Counts] = {}
    for model in models:
        if model["backend"] == "fake":
            continue  # costs nothing, saves nothing
        row = _row(rows, str(model["name"]), str(model["device"]))
        for name in _LOADING:
            row[name] += model.get(name, 0)
    for (name, device), count in uses.items():
        _row(rows, name, device)["uses"] += count
    tallied: dict[str, Counts] = {}
    for tallies in vectors:
        for name, tally in tallies.items():
            _add_vectors(tallied.setdefault(name, _no_vectors(name)), tally)
    return {
        "models": list(rows.values()),
        "vectors": list(tallied.values()),
        "threads": threads,
        "notices": dict(notices),
        "gates": [dict(row) for row in gates],
    }


def no_counts() -> Counts:
    """Those of a process that has used nothing."""
    return serialize((), {}, (), threads=None, notices={})


def _row(rows: dict[tuple[str, str], Counts], name: str, device: str) -> Counts:
    fresh = {"name": name, "device": device, **dict.fromkeys(_LOADING, 0)}
    return rows.setdefault((name, device), fresh)


def _no_vectors(name: str) -> Counts:
    return {"name": name, "found": {}, **dict.fromkeys(_VECTORS, 0)}


def _add_vectors(total: Counts, tally: Mapping[str, Any]) -> None:
    for name in _VECTORS:
        total[name] += tally[name]
    for tier, count in tally["found"].items():
        total["found"][tier] = total["found"].get(tier, 0) + count


def merge(by_process: Mapping[str, Counts | None]) -> Counts:
    """One result of what several processes found; None is a process that did not report.

    A process that crashed adds nothing: its counts died with it. Where processes have a `timeline`,
    the result has them all, by process, as `timelines`; and as `hosts` what they asked a model
    host for.
    """
    models: dict[tuple[str, str], Counts] = {}
    vectors: dict[str, Counts] = {}
    notices: dict[str, int] = {}
    gates: list[Counts] = []
    threads: set[int] = set()
    for process, counts in sorted(by_process.items(), key=_naturally):
        if counts is None:
            continue
        if counts["threads"] is not None:
            threads.add(counts["threads"])
        gates += counts["gates"]
        for message, count in counts["notices"].items():
            notices[message] = notices.get(message, 0) + count
        for row in counts["models"]:
            total = _row(models, row["name"], row["device"])
            for name in _LOADING:
                total[name] += row[name]
            per_process = total.setdefault("per_process", {})
            per_process[process] = {name: row[name] for name in _LOADING}
        for row in counts["vectors"]:
            total = vectors.setdefault(row["name"], _no_vectors(row["name"]))
            _add_vectors(total, row)
            counted = {name: count for name, count in row.items() if name != "name"}
            total.setdefault("per_process", {})[process] = counted
    hosts = {
        process: counts["host"]
        for process, counts in sorted(by_process.items(), key=_naturally)
        if counts is not None and "host" in counts
    }
    timelines = {
        process: counts["timeline"]
        for process, counts in sorted(by_process.items(), key=_naturally)
        if counts is not None and "timeline" in counts
    }
    return {
        "models": [models[key] for key in sorted(models)],
        "vectors": [vectors[name] for name in sorted(vectors)],
        "threads": min(threads) if threads else None,
        "notices": notices,
        "gates": gates,
        "processes": len(by_process),
        "silent": [
            name for name, counts in sorted(by_process.items(), key=_naturally) if counts is None
        ],
        **({"hosts": hosts} if hosts else {}),
        **({"timelines": timelines} if timelines else {}),
    }


def _naturally(item: tuple[str, object]) -> tuple[int, str]:
    """gw2 before gw10."""
    return len(item[0]), item[0]


def with_savings(merged: Counts, costs: Mapping[str, tuple[float, float]]) -> Counts:
    """Add `totals` to a merged result, with what was spent and saved, in seconds.

    Saved are, at what such a thing cost in this run or else in the past (`costs`: seconds of a
    load and of a text, by model): the loads of processes that used a model and needed none, the
    further loads that `ModelRegistry.get` made unnecessary, and the texts that were found.
    """
    totals: Counts = dict.fromkeys((*_LOADING, *_VECTORS, "found"), 0)
    saved = 0.0
    for model in merged["models"]:
        for name in _LOADING:
            totals[name] += model[name]
        saved += max(0, model["gets"] - model["loads"]) * _per_load(model)
    for vectors in merged["vectors"]:
        for name in _VECTORS:
            totals[name] += vectors[name]
        found = sum(vectors["found"].values())
        totals["found"] += found
        per_text = _ratio(vectors["encode_seconds"], vectors["computed"])
        saved += found * (per_text or costs.get(vectors["name"], _UNKNOWN)[1])
    for name, count in _spared(merged).items():
        saved += count * (_first_load(merged, name) or costs.get(name, _UNKNOWN)[0])
    totals["spent_seconds"] = (
        totals["load_seconds"] + totals["import_seconds"] + totals["encode_seconds"]
    )
    totals["saved_seconds"] = saved
    return {**merged, "totals": totals}


_UNKNOWN = (0.0, 0.0)


def _spared(merged: Counts) -> Counts:
    """In how many processes a model was used and not loaded, by its name."""
    used: dict[str, set[str]] = {}
    loaded: dict[str, set[str]] = {}
    for model in merged["models"]:
        for process, counts in model["per_process"].items():
            if counts["uses"]:
                used.setdefault(model["name"], set()).add(process)
            if counts["loads"]:
                loaded.setdefault(model["name"], set()).add(process)
    for vectors in merged["vectors"]:
        # Of code under test, which has its model by `get_model` and not from a fixture.
        for process, counts in vectors["per_process"].items():
            if counts["found"]:
                used.setdefault(vectors["name"], set()).add(process)
    return {name: len(where - loaded.get(name, set())) for name, where in used.items()}


def _first_load(merged: Counts, name: str) -> float:
    """Seconds that the first load in a process took, imports included; 0 where there was none."""
    models = [model for model in merged["models"] if model["name"] == name]
    loads = sum(model["loads"] for model in models)
    seconds = sum(model["load_seconds"] + model["import_seconds"] for model in models)
    return _ratio(seconds, loads)


def _per_load(model: Counts) -> float:
    return _ratio(model["load_seconds"], model["loads"])


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
