"""What the run says at its end: lines for the terminal, and a file for machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache.plugin.counts import Counts, totals
from pytest_embedcache.plugin.settings import Settings

__all__ = ["header", "summary", "write_json"]

#: So that the summary stays under ten lines.
_MODELS = 4
_NOTICES = 2


def header(settings: Settings) -> str | None:
    """One line with what was set, and where; None where nothing was."""
    if not settings.given:
        return None
    shown = (
        f"{name}={getattr(settings, name)} ({source})" for name, source in settings.given.items()
    )
    return f"embedcache: {', '.join(shown)}"


def summary(merged: Counts) -> Iterator[str]:
    """The lines of the summary, under ten; none where nothing happened."""
    models = merged["models"]
    for model in models[:_MODELS]:
        yield _model(model)
    if len(models) > _MODELS:
        yield f"and {len(models) - _MODELS} more models (--embedcache-json lists all)"
    if models:
        yield _time(totals(merged))
        if merged["threads"] is not None:
            yield f"torch was held to {_times(merged['threads'], 'thread')} in each process"
    notices = list(merged["notices"])
    if merged["silent"]:
        notices.insert(
            0, f"no counts from {', '.join(merged['silent'])} (crashed); totals are without"
        )
    yield from notices[:_NOTICES]
    if len(notices) > _NOTICES:
        yield f"and {_times(len(notices) - _NOTICES, 'more notice')} (in the log)"


def _model(model: dict[str, Any]) -> str:
    per_process = model["per_process"]
    line = f"{model['name']} on {model['device']}: {_times(model['loads'], 'load')}"
    line += f" for {_times(model['gets'], 'use')}"
    if model["failures"]:
        line += f", {model['failures']} failed"
    if len(per_process) > 1:
        loads = {process: counts["loads"] for process, counts in per_process.items()}
        if len(set(loads.values())) > 1:
            line += f" ({', '.join(f'{name} {count}' for name, count in loads.items())})"
        else:
            line += f" (in each of {len(loads)} workers {next(iter(loads.values()))})"
    return line


def _time(sums: Counts) -> str:
    spent = sums["import_seconds"] + sums["load_seconds"]
    imports, loads = sums["import_seconds"], sums["load_seconds"]
    line = f"spent {spent:.2f} s (imports {imports:.2f}, loads {loads:.2f})"
    spared = max(0, sums["gets"] - sums["loads"])
    # An upper bound: a second load in one process finds the files in memory.
    saved = sums["saved_seconds"]
    return f"{line}, saved up to {saved:.2f} s ({_times(spared, 'load')} not needed)"


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def write_json(path: str, settings: Settings, merged: Counts) -> None:
    """Write the merged counts; the file appears whole."""
    import json

    content = {
        "format": 1,
        "settings": {
            "model": settings.model,
            "device": settings.device,
            "threads": settings.threads,
        },
        "totals": totals(merged),
        **merged,
    }
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
