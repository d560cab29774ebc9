"""The counts of a run: taken in each process, merged in one, as pure functions on plain dicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["merge", "serialize", "totals"]

Counts = dict[str, Any]

_SUMMED = ("gets", "loads", "failures", "evictions", "load_seconds", "import_seconds")


def serialize(
    models: Iterable[Mapping[str, Any]],
    uses: Mapping[tuple[str, str], int],
    *,
    threads: int | None,
    notices: Mapping[str, int],
) -> Counts:
    """What one process found, in built-in types.

    `models` are rows of `ModelStats`; several registries may list one model. `uses` is added to
    the gets of (name, device). `threads` is the cap that was set, if one was.
    """
    rows: dict[tuple[str, str], Counts] = {}
    for model in models:
        if model["backend"] == "fake":
            continue  # costs nothing, saves nothing
        key = (str(model["name"]), str(model["device"]))
        row = rows.setdefault(key, {"name": key[0], "device": key[1], **dict.fromkeys(_SUMMED, 0)})
        for name in _SUMMED:
            row[name] += model[name]
    for key, extra in uses.items():
        if key in rows:
            rows[key]["gets"] += extra
    for row in rows.values():
        row["saved_seconds"] = _saved(row)
    return {"models": list(rows.values()), "threads": threads, "notices": dict(notices)}


def _saved(row: Mapping[str, Any]) -> float:
    """Seconds that loading at every get would have cost on top, at this process's own mean.

    The import of torch is not in it: a process pays that once however often it loads.
    """
    if not row["loads"]:
        return 0.0
    spared: int = max(0, row["gets"] - row["loads"])
    return spared * float(row["load_seconds"]) / int(row["loads"])


def merge(by_process: Mapping[str, Counts | None]) -> Counts:
    """One result of what several processes found; None is a process that did not report.

    A process that crashed adds nothing: its counts died with it.
    """
    models: dict[tuple[str, str], Counts] = {}
    notices: dict[str, int] = {}
    threads: set[int] = set()
    for process, counts in sorted(by_process.items()):
        if counts is None:
            continue
        if counts["threads"] is not None:
            threads.add(counts["threads"])
        for message, count in counts["notices"].items():
            notices[message] = notices.get(message, 0) + count
        for row in counts["models"]:
            key = (row["name"], row["device"])
            total = models.setdefault(key, {"name": key[0], "device": key[1], "per_process": {}})
            for name in (*_SUMMED, "saved_seconds"):
                total[name] = total.get(name, 0) + row[name]
            total["per_process"][process] = {
                name: row[name] for name in (*_SUMMED, "saved_seconds")
            }
    return {
        "models": [models[key] for key in sorted(models)],
        "threads": min(threads) if threads else None,
        "notices": notices,
        "processes": len(by_process),
        "silent": sorted(name for name, counts in by_process.items() if counts is None),
    }


def totals(merged: Counts) -> Counts:
    """The sums over all models."""
    names = (*_SUMMED, "saved_seconds")
    return {name: sum(model[name] for model in merged["models"]) for name in names}
