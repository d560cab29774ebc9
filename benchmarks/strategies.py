"""When a model is loaded: what a preload costs its caller, and what it saves him later."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.children import call_in_child
from benchmarks.harness import Report, Target, in_turns, say
from examples.real_model import real_model

MS = 1e3
#: Seconds of the work that is done while a model loads, longer than most loads.
WORK = 6.0
PLAIN = "sentence-transformers"
STRATEGIES = ("lazy", "background", "progressive", "quantized", "cached")
KINDS = ("waiting", "outside the GIL", "pure Python")


@contextmanager
def _prepared() -> Iterator[tuple[str, dict[str, str]]]:
    """The model, and the environment of the children; its exports are made beforehand."""
    with tempfile.TemporaryDirectory() as folder, real_model() as name:
        changes = {"EMBEDCACHE_DIR": folder, "HF_HUB_OFFLINE": "1"}
        for strategy in ("cached", "quantized"):
            say(f"preparing for {strategy}")
            call_in_child("benchmarks.strategy_child", "ready", strategy, name, **changes)
        yield name, changes


def run(*, quick: bool = False) -> Report:
    rounds = 1 if quick else 7
    with _prepared() as (name, changes):

        def child(*arguments: str) -> dict[str, float]:
            said = call_in_child("benchmarks.strategy_child", *arguments, name, **changes)
            found: dict[str, float] = json.loads(said)
            return found

        ready: dict[str, list[dict[str, float]]] = {}

        def readiness(strategy: str) -> float:
            found = child("ready", strategy)
            ready.setdefault(strategy, []).append(found)
            return found["total"]

        chosen = ("progressive", "cached") if quick else STRATEGIES
        in_turns(
            {s: lambda s=s: readiness(s) for s in (*chosen, PLAIN)},  # type: ignore[misc]
            rounds,
            progress=say,
        )
        beside = {
            f"{strategy}, {kind}": lambda strategy=strategy, kind=kind: child(  # type: ignore[misc]
                "beside", strategy, kind, str(0.2 if quick else WORK)
            )["on top"]
            for strategy in ("background", "cached")
            for kind in (KINDS[:1] if quick else KINDS)
        }
        on_top = in_turns(beside, rounds, progress=say)
    report = Report(
        "strategies: a model that is ready when it is needed",
        ("preload ms", "metadata ms", "ready s", "first text ms", "start to first vector s"),
    )
    for strategy, found in ready.items():
        cells = {key: statistics.median(one[key] for one in found) for key in found[0]}
        report.row(
            strategy,
            *(f"{cells[key] * MS:.2f}" if key in cells else "" for key in ("preload", "metadata")),
            f"{cells['ready']:.2f}" if "ready" in cells else "",
            f"{cells['first'] * MS:.1f}" if "first" in cells else "",
            f"{cells['total']:.2f}",
        )
        if strategy == PLAIN:
            continue
        what = f"{strategy}: import and preload"
        report.targets.append(Target(what, 10, cells["preload"] * MS, "ms"))
        report.targets.append(Target(f"{strategy}: metadata", 1, cells["metadata"] * MS, "ms"))
        if strategy != "lazy":
            what = f"{strategy}: first text after the preload"
            report.targets.append(Target(what, 100, cells["first"] * MS, "ms"))
    for label, values in on_top.items():
        strategy, _, kind = label.partition(", ")
        found_here = statistics.median(values)
        what = f"{label}: on top of the longer of load and work"
        if strategy == "cached":
            report.targets.append(Target(what, 0.3, found_here, "s"))
        elif kind != "pure Python":
            report.targets.append(Target(what, 0.1, found_here / WORK, "of it"))
        else:
            report.notes.append(f"{what}: {found_here:.2f} s (no target: imports hold the GIL)")
    report.notes.append(
        f"{rounds} rounds in turns, each figure of a fresh process; medians. Until the model is "
        "ready the caller of a preload does nothing; the text is one that nobody has stored. "
        f"Beside a load are {WORK:g} s of work, as long as they are without one. Plain "
        f"{PLAIN}: import, load and encode, with HF_HUB_OFFLINE=1. {os.cpu_count()} cores."
    )
    return report
