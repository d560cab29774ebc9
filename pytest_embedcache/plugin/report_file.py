"""The report of a run: what is collected for it in each process, and its file at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models import defaults
from pytest_embedcache.plugin.timeline import Timeline

if TYPE_CHECKING:
    import pytest

    from pytest_embedcache.plugin.counts import Counts
    from pytest_embedcache.plugin.durations import Durations
    from pytest_embedcache.plugin.run import Run
    from pytest_embedcache.plugin.settings import Settings

__all__ = ["Watcher", "register_durations", "write_report"]


class Watcher:
    """Notes what this process loads and computes, from now on, for the report."""

    def __init__(self, settings: Settings) -> None:
        self._timeline = Timeline(texts=settings.report_texts)
        self._before, defaults.watch = defaults.watch, self._timeline

    def stop(self) -> None:
        """End; whoever watched before does so again."""
        defaults.watch = self._before

    def counts(self) -> dict[str, Any]:
        """What goes with the counts of this process."""
        return {"timeline": self._timeline.as_dict()}


def register_durations(config: pytest.Config) -> Durations:
    """Have pytest tell how long each test took."""
    from pytest_embedcache.plugin.durations import Durations

    durations = Durations()
    config.pluginmanager.register(durations, "embedcache-report")
    return durations


def write_report(
    session: pytest.Session, run: Run, merged: Counts, lines: Sequence[str], durations: Durations
) -> None:
    """Write the file; one that cannot be written is said in the summary, and ends no run."""
    from pytest_embedcache.models.remote import DIMENSIONS
    from pytest_embedcache.plugin.costs import past_tokens
    from pytest_embedcache.plugin.report import shown_settings, write_file
    from pytest_embedcache.plugin.report_data import gather
    from pytest_embedcache.plugin.report_markdown import markdown
    from pytest_embedcache.plugin.report_page import page

    settings = run.settings
    assert settings.report is not None
    report = gather(
        merged,
        durations.rows(),
        project=session.config.rootpath.name,
        settings=shown_settings(settings),
        lines=lines,
        past_tokens=past_tokens(run) if merged["vectors"] else {},
        prices=settings.prices,
        services=frozenset(DIMENSIONS),
    )
    render = markdown if PurePath(settings.report).suffix.lower() == ".md" else page
    write_file(settings.report, render(report), "the report", merged)
