"""The end of a run with recordings: merge what is new, drop what is unused, say what is missing."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.plugin.recordings import RECORDING, Found, RunRecordings
from pytest_embedcache.plugin.table import Mode

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Ending", "end", "incomplete", "join"]

_SHOWN = 5


@dataclass
class Ending:
    """Lines for the summary, some of which show texts, and whether the run failed by them."""

    lines: list[str] = field(default_factory=list)
    failed: bool = False
    with_texts: set[str] = field(default_factory=set)

    def said(self, *, texts: bool) -> list[str]:
        """The lines; without `texts`, those that show none."""
        return [line for line in self.lines if texts or line not in self.with_texts]


def join(found: Iterable[Found]) -> Found:
    """What all processes found: keys and missed texts once, and the most that were deselected."""
    used: dict[str, set[str]] = {}
    absent: set[str] = set()
    misses: dict[str, Any] = {}
    deselected = 0
    for one in found:
        for fingerprint, keys in one["used"].items():
            used.setdefault(fingerprint, set()).update(keys)
        absent.update(one["absent"])
        for miss in one["misses"]:
            misses.setdefault(json.dumps([miss["model"], miss["role"], miss["text"]]), miss)
        deselected = max(deselected, one["deselected"])  # every worker collects all
    return {
        "used": used,
        "absent": absent,
        "misses": list(misses.values()),
        "deselected": deselected,
    }


def incomplete(session: pytest.Session, found: Found, silent: int) -> str | None:
    """Why this run does not tell which recordings are in use; None where it does."""
    config = session.config
    if session.exitstatus != pytest.ExitCode.OK:
        return "the run was not green"
    if silent:
        return "a worker crashed"
    if found["deselected"]:
        return f"{_times(found['deselected'], 'test')} deselected"
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return "the command line names what to run"
    if (
        config.args_source is pytest.Config.ArgsSource.INVOCATION_DIR
        and config.invocation_params.dir != config.rootpath
    ):
        return "it was not started in the root directory"
    for name in ("lf", "stepwise", "ignore", "ignore_glob", "collectonly"):
        if getattr(config.option, name, None):
            return f"--{name.replace('_', '-')} was given"
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return "there is no terminal reporter that would know of skipped tests"
    if skipped := len(reporter.stats.get("skipped", ())):
        return f"{_times(skipped, 'test')} skipped"
    return None


def end(run: RunRecordings, found: Found, why_not: str | None) -> Ending:
    """Do and say what is due at the end of the whole run, in the one process that reports.

    `why_not` is why the run does not tell which recordings are in use.
    """
    ending = Ending()
    mode = Mode(run.settings.mode)
    if mode in RECORDING:
        _merge(run, mode, ending)
    elif mode is Mode.REPLAY:
        _report_misses(run, found["misses"], ending)
    elif mode is Mode.AUTO and found["absent"]:
        count = _times(len(found["absent"]), "text")
        ending.lines.append(f"recordings: {count} not in them; record with: {run.command()}")
        if run.settings.strict:
            ending.failed = True
            ending.lines.append("embedcache_strict: the run fails for that")
    if why_not is None and found["absent"]:
        # By another model than the recorded one, every recording would look as if nobody used it.
        why_not = f"the run missed {_times(len(found['absent']), 'text')}"
    if found["used"] and why_not is None:
        from pytest_embedcache.vectors.recordings_used import remember_used

        remember_used(run.cache_directory(), run.path, found["used"])
    if run.settings.prune_recordings:
        ending.lines.append(_prune(run, found, why_not))
    if mode in RECORDING and found["used"]:
        ending.lines += _namesakes(run, found)
    return ending


def _merge(run: RunRecordings, mode: Mode, ending: Ending) -> None:
    from pytest_embedcache.vectors.spool import forget_killed, merge

    forget_killed(run.cache_directory())
    try:
        done = merge(run.spool(), run.path, replace=mode is Mode.RERECORD)
    except OSError as error:
        ending.failed = True
        ending.lines.append(
            f"recordings: {run.path} cannot be written ({error.strerror or error}); what is new "
            "waits in the cache directory for the next run with --embedcache-mode=record"
        )
        return
    new, replaced, kept = (sum(c.values()) for c in (done.new, done.replaced, done.kept))
    line = f"recordings: {_times(new, 'text')} recorded"
    if mode is Mode.RERECORD:
        line += f", {replaced} replaced, {kept} as before"
    ending.lines.append(f"{line} in {_short(run.path)}")


def _report_misses(run: RunRecordings, misses: list[dict[str, Any]], ending: Ending) -> None:
    if not misses:
        return
    from pytest_embedcache.vectors.replay_misses import shortened

    ending.failed = True
    path = run.cache_directory() / "replay-misses.jsonl"
    said = f"replay: {_times(len(misses), 'text')} not recorded"
    with contextlib.suppress(OSError):
        from pytest_embedcache.files import write_atomically

        write_atomically(path, "".join(_json_lines(misses)).encode())
        said += f", all are in {path}"
    shown = [
        f"  {shortened(miss['text'])}{_role(miss)} ({miss['model']})" for miss in misses[:_SHOWN]
    ]
    ending.lines += [f"{said}:", *shown]
    ending.with_texts.update(shown)
    ending.lines.append(f"record with: {run.command()}")


def _role(miss: dict[str, Any]) -> str:
    return f" as {miss['role']}" if miss["role"] else ""


def _json_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row) + "\n"


def _prune(run: RunRecordings, found: Found, why_not: str | None) -> str:
    if why_not is not None:
        return f"recordings: not pruned, because {why_not}"
    if not found["used"]:
        return "recordings: not pruned, because no test used them"
    from pytest_embedcache.vectors.recordings_used import prune

    dropped = prune(run.path, found["used"])
    return f"recordings: {_times(dropped, 'unused text')} dropped from {_short(run.path)}"


def _namesakes(run: RunRecordings, found: Found) -> Iterator[str]:
    from pytest_embedcache.vectors.recordings_used import namesakes

    for folder in namesakes(run.path, found["used"]):
        yield (
            f"recordings: {_short(folder)} is of another model under the same name, which this run "
            "did not use; replay without weights cannot choose. Drop it in a complete run with: "
            f"{run.command()} --embedcache-prune-recordings"
        )


def _short(path: Path) -> str:
    shown = os.path.relpath(path)
    return str(path) if shown.startswith("..") else shown


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
