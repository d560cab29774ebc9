"""What the run says at its end: lines for the terminal, and a file for machines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.plugin.table import SETTINGS

if TYPE_CHECKING:
    from pytest_embedcache.plugin.counts import Counts
    from pytest_embedcache.plugin.settings import Settings

__all__ = ["LINES", "header", "shown_settings", "summary", "write_file", "write_json"]

#: So that the summary, with its title, stays under ten.
LINES = 8
_MODELS = 3
_SECRET = frozenset(row.name for row in SETTINGS if row.secret)


def header(settings: Settings) -> str | None:
    """One line with what was set, and where; None where nothing was."""
    if not settings.given:
        return None
    shown = (f"{name}={value} ({source})" for name, value, source in shown_settings(settings))
    return f"embedcache: {', '.join(shown)}"


def shown_settings(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(name, value, where it was set) of what is no default; no secret."""
    for name, source in settings.given.items():
        value = "…" if name in _SECRET else getattr(settings, name)
        yield name, "auto" if value is None else str(value), source  # a device that was left open


def summary(merged: Counts, *, asked_for: bool = False, room: int = LINES) -> Iterator[str]:
    """The lines of the summary, `room` at most; none where nothing of ours was used.

    `merged` has its totals. With `asked_for`, because something was set, there are notices also
    where no model was used. Where there is little room, figures are left out before notices.
    """
    models, totals = merged["models"], merged["totals"]
    if not (models or totals["asked"] or asked_for):
        return
    notices = [" ".join(notice.split()) for notice in merged["notices"]]
    if merged["silent"]:
        silent = ", ".join(merged["silent"])
        notices.insert(0, f"no counts from {silent} (crashed or stopped): totals are without")
    figures = [_vectors(merged["vectors"], totals)] if totals["asked"] else []
    if "host" in merged:
        from pytest_embedcache.plugin.host import host_line

        figures.insert(0, host_line(merged))
    if models or totals["asked"]:
        figures.append(_time(totals, merged["threads"]))
    free = room - bool(notices)
    figures = figures[max(0, len(figures) - free) :]
    lines = [*_models(models, free - len(figures)), *figures]
    yield from lines
    yield from _some(notices, room - len(lines), "more notice")


def _models(models: list[Counts], room: int) -> Iterator[str]:
    more = len(models) > min(_MODELS, room)
    return _some([_model(model) for model in models], min(_MODELS + more, room), "more model")


def _some(lines: list[str], room: int, what: str) -> Iterator[str]:
    """As many lines as there is room for, the last of which says how many more there are."""
    shown = len(lines) if len(lines) <= room else max(0, room - 1)
    yield from lines[:shown]
    if shown < len(lines) and room > 0:
        yield f"and {_times(len(lines) - shown, what)} (--embedcache-json lists all)"


def _model(model: dict[str, Any]) -> str:
    per_process = model["per_process"]
    loads = "no load" if not model["loads"] else _times(model["loads"], "load")
    line = f"{model['name']} on {model['device']}: {loads}"
    if uses := model["uses"] + model["gets"]:  # code under test has its model without either
        line += f" for {_times(uses, 'use')}"
    if model["failures"]:
        line += f", {model['failures']} failed"
    if model["loads"] and model["loads"] == per_process.get("host", {}).get("loads"):
        line += " (in the model host)"
    elif model["loads"] and len(per_process) > 1:
        counts = {process: row["loads"] for process, row in per_process.items()}
        if len(set(counts.values())) > 1:
            line += f" ({', '.join(f'{name} {count}' for name, count in counts.items())})"
        else:
            line += f" (in each of {len(counts)} workers {next(iter(counts.values()))})"
    return line


def _vectors(vectors: list[Counts], totals: Counts) -> str:
    tiers: dict[str, int] = {}
    for row in vectors:
        for tier, count in row["found"].items():
            tiers[tier] = tiers.get(tier, 0) + count
    found = ", ".join(f"{tier} {count}" for tier, count in tiers.items())
    line = f"vectors: {_times(totals['asked'], 'text')} asked, {totals['found']} found"
    line += f" ({found})" if found else ""
    line += f", {totals['computed']} computed"
    if totals["shared"]:
        line += f", {totals['shared']} shared"
    if totals["bypassed"]:
        line += f", {totals['bypassed']} without the store"
    if totals["untrusted"]:
        line += f", {totals['untrusted']} by a model that may have been changed"
    return line


def _time(totals: Counts, threads: int | None) -> str:
    parts = {
        "imports": totals["import_seconds"],
        "loads": totals["load_seconds"],
        "encoding": totals["encode_seconds"],
    }
    shown = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items() if seconds)
    line = f"spent {totals['spent_seconds']:.2f} s" + (f" ({shown})" if shown else "")
    line += f", saved about {totals['saved_seconds']:.2f} s"
    held = "" if threads is None else f"; torch held to {_times(threads, 'thread')} in each process"
    return line + held


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def write_json(path: str, settings: Settings, merged: Counts) -> None:
    """Write the merged counts, with their totals; the file appears whole.

    One that cannot be written is said in the summary, and ends no run.
    """
    import json

    from pytest_embedcache.models.machine import describe_machine

    content = {
        "format": 1,
        "machine": describe_machine(),
        "settings": {
            "model": settings.model,
            "device": settings.device,
            "mode": settings.mode,
            "threads": settings.threads,
        },
        **merged,
    }
    write_file(path, json.dumps(content, indent=2, sort_keys=True) + "\n", "the counts", merged)


def write_file(path: str, text: str, what: str, merged: Counts) -> None:
    """Write a file, which appears whole; that it could not be is a notice of `merged`."""
    target = Path(path)
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        problem = f"{what} could not be written to {path} ({error.strerror or error})"
        merged["notices"][problem] = 1
