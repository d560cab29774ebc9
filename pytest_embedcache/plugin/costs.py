"""What loads and texts have cost before: a run that found everything computed nothing."""

from __future__ import annotations

from pytest_embedcache.plugin.counts import Counts
from pytest_embedcache.plugin.run import Run

__all__ = ["past_costs", "remember_costs"]


def past_costs(run: Run) -> dict[str, tuple[float, float]]:
    """Seconds of a load (imports included) and of a text, by model."""
    from pytest_embedcache.vectors import history

    past = history.read(run.directory())
    return {name: (one.seconds_per_load, one.seconds_per_text) for name, one in past.items()}


def remember_costs(run: Run, result: Counts) -> None:
    """Add this run's counts to the history."""
    rows = {row["name"]: {"model": row["name"], **row} for row in result["vectors"]}
    for model in result["models"]:
        row = rows.setdefault(model["name"], {"model": model["name"]})
        row["loads"] = row.get("loads", 0) + model["loads"]
        seconds = model["load_seconds"] + model["import_seconds"]
        row["load_seconds"] = row.get("load_seconds", 0.0) + seconds
    if rows:
        from pytest_embedcache.vectors import history

        history.append(run.directory(), rows.values())
