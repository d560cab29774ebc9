"""From nothing to the first vector: a fresh process with a prepared model, and with torch."""

from __future__ import annotations

import json
import statistics
import tempfile

from benchmarks.children import call_in_child
from benchmarks.encoders import FORMS, TORCH, prepare
from benchmarks.harness import Report, Samples, Target, in_turns, ratio, say
from benchmarks.own_cache import own_cache
from examples.real_model import real_model


def run(*, quick: bool = False) -> Report:
    rounds = 2 if quick else 11
    memory: Samples = {}
    with tempfile.TemporaryDirectory() as folder, real_model(), own_cache(folder):
        say("preparing the forms")
        prepare(*FORMS.values())

        def once(way: str) -> float:
            found = json.loads(
                call_in_child("benchmarks.encoders", "first", way, EMBEDCACHE_DIR=folder)
            )
            memory.setdefault(way, []).append(found["rss"])
            return float(found["seconds"])

        ways = (TORCH, *FORMS)
        for way in ways:
            once(way)  # reads the files, writes bytecode
        memory.clear()
        samples = in_turns({way: lambda way=way: once(way) for way in ways}, rounds, progress=say)
    report = Report(
        "onnx_start: a fresh process to its first vector",
        ("s (median)", "times faster", "95 % interval", "MB resident"),
    )
    for way in ways:
        times, low, high = ratio(samples[TORCH], samples[way])
        report.row(
            way,
            f"{statistics.median(samples[way]):.3f}",
            f"{times:.1f}",
            f"{low:.1f} to {high:.1f}",
            f"{statistics.median(memory[way]):.0f}",
        )
    report.notes.append(
        f"{rounds} rounds in turns, from the start of the process to a vector that is in no store. "
        "The files are in the system's cache, and the model was prepared before."
    )
    times, low, high = ratio(samples[TORCH], samples["cached"])
    report.targets += [
        Target("cached", 15, times, "times faster", at_least=True, interval=(low, high)),
        Target("resident, cached", 130, statistics.median(memory["cached"]), "MB"),
    ]
    return report
