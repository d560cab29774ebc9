"""What a model takes: at its peak, afterwards, when it is gone, and for several processes."""

from __future__ import annotations

import json
import statistics
import tempfile
from typing import Any

from benchmarks.children import start_child
from benchmarks.encoders import FORMS, TORCH, prepare
from benchmarks.harness import Report, Samples, Target, in_turns, say
from benchmarks.own_cache import own_cache
from examples.real_model import real_model

PROCESSES = 4
KINDS = ("peak", "after", "unloaded", "together")


def run(*, quick: bool = False) -> Report:
    rounds = 1 if quick else 7
    ways = (TORCH, "cached", "quantized")
    samples: dict[str, Samples] = {way: {kind: [] for kind in KINDS} for way in ways}
    with tempfile.TemporaryDirectory() as folder, real_model(), own_cache(folder):
        say("preparing the forms")
        prepare(*(FORMS[way] for way in ways if way in FORMS))

        def once(way: str) -> float:
            found = _together(way, folder)
            for kind in KINDS:
                samples[way][kind].append(found[kind])
            return found["together"]

        in_turns({way: lambda way=way: once(way) for way in ways}, rounds, progress=say)
    report = Report(
        "onnx_memory: MB for 32 texts of 256 tokens",
        ("peak", "after it", "after unload", f"{PROCESSES} processes together"),
    )
    middle = {way: {k: statistics.median(samples[way][k]) for k in KINDS} for way in ways}
    for way in ways:
        report.row(way, *(f"{middle[way][kind]:.0f}" for kind in KINDS))
    report.notes.append(
        f"{rounds} rounds in turns of {PROCESSES} processes that encode the same, one after the "
        "other; the first three columns are of the first, resident; together they are counted with "
        "what they share divided by those who share it (proportional set size)."
    )
    limits = {"peak": 300, "after": 130, "unloaded": 80, "together": 320}
    names = dict(zip(KINDS, report.columns, strict=True))
    for kind, limit in limits.items():
        report.targets.append(Target(f"cached, {names[kind]}", limit, middle["cached"][kind], "MB"))
    return report


def _together(way: str, folder: str) -> dict[str, float]:
    """Start the processes; each waits twice, so that all are there when any looks."""
    children = []
    for _ in range(PROCESSES):
        child = start_child("benchmarks.encoders", "memory", way, EMBEDCACHE_DIR=folder)
        _line(child)  # one after the other: it has encoded
        children.append(child)
    said: list[dict[str, Any]] = []
    for child in children:
        _go(child)
        said.append(json.loads(_line(child)))
    for child, facts in zip(children, said, strict=True):
        _go(child)
        facts |= json.loads(_line(child))
        child.communicate()
    first = said[0]
    return {
        "peak": first["peak"],
        "after": first["after"],
        "unloaded": first["unloaded"],
        "together": sum(facts["pss"] for facts in said),
    }


def _line(child: Any) -> str:
    line: str = child.stdout.readline()
    if not line:
        raise RuntimeError(child.stderr.read())
    return line


def _go(child: Any) -> None:
    child.stdin.write("go\n")
    child.stdin.flush()
