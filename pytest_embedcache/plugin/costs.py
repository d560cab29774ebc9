"""What loads and texts have cost before: a run that found everything computed nothing."""

from __future__ import annotations

from pytest_embedcache.plugin.counts import Counts
from pytest_embedcache.plugin.run import Run
from pytest_embedcache.plugin.table import Mode

__all__ = ["past_costs", "past_tokens", "remember_costs"]


def past_costs(run: Run) -> dict[str, tuple[float, float]]:
    """Seconds of a load (imports included) and of a text, by model."""
    from pytest_embedcache.vectors import history

    past = history.read(run.directory(), costs_only=True)
    return {name: (one.seconds_per_load, one.seconds_per_text) for name, one in past.items()}


def past_tokens(run: Run) -> dict[str, float]:
    """What a service has counted for a text on average, by model."""
    from pytest_embedcache.vectors import history

    past = history.read(run.directory())
    return {name: one.tokens / one.billed for name, one in past.items() if one.billed}


def remember_costs(run: Run, result: Counts) -> None:
    """Add this run's counts to the history."""
    if run.settings.mode == Mode.FAKE:
        return  # what a fake costs says nothing about models
    from pytest_embedcache.vectors import history

    vectors = {row["name"]: row for row in result["vectors"]}
    history.append(run.directory(), history.rows_of(vectors, result["models"]))
