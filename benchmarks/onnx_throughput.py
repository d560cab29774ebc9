"""Texts per second on the same threads: prepared models, and torch."""

from __future__ import annotations

import json
import statistics
import tempfile

from benchmarks.children import call_in_child
from benchmarks.encoders import FORMS, TORCH, prepare
from benchmarks.harness import Report, Samples, Target, in_turns, ratio, say
from benchmarks.own_cache import own_cache
from examples.real_model import real_model
from pytest_embedcache.models.threads import allowed

SIZES = ("1", "32")


def run(*, quick: bool = False) -> Report:
    rounds, calls = (2, "3") if quick else (9, "31")
    threads = allowed()
    per_text: dict[str, Samples] = {size: {} for size in SIZES}
    ways = (TORCH, *FORMS)
    with tempfile.TemporaryDirectory() as folder, real_model(), own_cache(folder):
        say("preparing the forms")
        prepare(*FORMS.values())

        def once(way: str) -> float:
            found = json.loads(
                call_in_child(
                    "benchmarks.encoders",
                    "speed",
                    way,
                    calls,
                    *SIZES,
                    EMBEDCACHE_DIR=folder,
                    OMP_NUM_THREADS=str(threads),
                )
            )
            for size in SIZES:
                per_text[size].setdefault(way, []).append(1 / found[size])
            return float(found["32"])

        in_turns({way: lambda way=way: once(way) for way in ways}, rounds, progress=say)
    report = Report(
        "onnx_throughput: texts per second, without a store",
        ("one at a time", "of torch", "batches of 32", "of torch", "95 % interval"),
    )
    for way in ways:
        cells = []
        for size in SIZES:
            found = ratio(per_text[size][TORCH], per_text[size][way])
            cells += [f"{1 / statistics.median(per_text[size][way]):.0f}", f"{found[0]:.2f} x"]
        report.row(way, *cells, f"{found[1]:.2f} to {found[2]:.2f}")
    report.notes.append(
        f"{rounds} rounds in turns, a process each with {threads} threads; in it the median of "
        f"{calls} calls with texts of 14 or 15 tokens."
    )
    for size, limit in (("32", 1.4), ("1", 2.5)):
        times, low, high = ratio(per_text[size][TORCH], per_text[size]["cached"])
        what = f"cached, batches of {size}"
        report.targets.append(
            Target(what, limit, times, "times torch", at_least=True, interval=(low, high))
        )
    return report
