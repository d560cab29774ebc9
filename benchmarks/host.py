"""One model for all workers: a cold suite on eight of them, and new texts with a kept host."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.children import call_in_child
from benchmarks.harness import Report, Samples, Target, difference, in_turns, ratio, say
from benchmarks.suite40 import COLD, PLAIN, Facts, run_once
from examples.real_model import real_model
from pytest_embedcache.models.host.address import address_of
from pytest_embedcache.models.host.link import ask_once
from pytest_embedcache.models.host.process import Job
from pytest_embedcache.models.host.starting import start_at

MS = 1e3
MB = 1e6
#: Label -> (the variant of suite40, how many workers, --embedcache-host).
CASES = {
    "serial, cold": (COLD, "serial", "off"),
    "-n 8, cold, one host": (COLD, "-n 8", "auto"),
    "-n 8, cold, a model in each worker": (COLD, "-n 8", "off"),
}
NEIGHBOUR = "-n 8, a session fixture"
HOSTED = "-n 8, cold, one host"


def run(*, quick: bool = False) -> Report:
    facts = {label: Facts() for label in (*CASES, NEIGHBOUR)}
    hosts: list[dict[str, float]] = []
    with real_model() as name, tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts.json")

        def case(label: str) -> float:
            variant, how, host = CASES[label]
            extra = (f"--embedcache-host={host}", f"--embedcache-json={counts}")
            seconds = run_once(variant, how, facts[label], name, Path(folder), *extra)
            if host == "auto":
                hosts.append(_host(json.loads(counts.read_text(encoding="utf-8"))))
            return seconds

        def neighbour() -> float:
            return run_once(PLAIN, "-n 8", facts[NEIGHBOUR], name, Path(folder))

        chosen = list(CASES)[:2] if quick else list(CASES)
        cases = {label: lambda label=label: case(label) for label in chosen}  # type: ignore[misc]
        if not quick:
            cases[NEIGHBOUR] = neighbour
        samples = in_turns(cases, 1 if quick else 5, progress=say)
        first, batches = _kept(name, folder, 1 if quick else 7)
    return _report(samples, facts, hosts, first, batches)


def _host(counts: dict[str, object]) -> dict[str, float]:
    """What the counts of a run say of its host."""
    host: dict[str, float] = counts["host"]  # type: ignore[assignment]
    models: list[dict[str, float]] = counts["models"]  # type: ignore[assignment]
    return {"loads": sum(row["loads"] for row in models), "peak": host["peak_bytes"] / MB}


def _kept(name: str, folder: str, rounds: int) -> tuple[list[dict[str, float]], Samples]:
    """First vectors of fresh processes, and batches of 32, hosted and in the process itself."""
    cache = str(Path(folder, "kept-host"))
    address = address_of(cache)
    start_at(address, Job(str(address.path), cache, idle=600))
    try:
        child = ("benchmarks.host_child", "first", name, cache)
        call_in_child(*child)  # the host loads
        first = [json.loads(call_in_child(*child)) for _ in range(rounds)]
        # Both sides with threads that sleep while they wait, as those of a host do.
        policy = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
        batches: Samples = json.loads(call_in_child(child[0], "batch", name, cache, **policy))
    finally:
        ask_once(address, {"do": "stop"})
        time.sleep(1)  # it has the directory open
        shutil.rmtree(cache, ignore_errors=True)
    return first, batches


def _report(
    samples: Samples,
    facts: dict[str, Facts],
    hosts: list[dict[str, float]],
    first: list[dict[str, float]],
    batches: Samples,
) -> Report:
    report = Report("host: one model for all workers", ("s or ms (median)", "", "MB per process"))
    serial = samples["serial, cold"]
    for label, values in samples.items():
        times, low, high = ratio(values, serial)
        report.row(
            label,
            f"{statistics.median(values):.2f} s",
            f"{times:.2f} x serial ({low:.2f} to {high:.2f})",
            f"{max(facts[label].peaks):.0f}",
        )
    peak = max(host["peak"] for host in hosts)
    report.row("the host itself", "", "", f"{peak:.0f}")
    found = {key: statistics.median(one[key] for one in first) * MS for key in first[0]}
    report.row("kept host: first vector", f"{found['first']:.1f} ms", "the model is loaded", "")
    report.row("kept host: the same with imports", f"{found['with imports']:.1f} ms", "", "")
    for label, values in batches.items():
        report.row(f"32 new texts, {label}", f"{statistics.median(values) * MS:.2f} ms", "", "")
    more, low, high = (value * MS for value in difference(batches["hosted"], batches["here"]))
    times, fewest, most = ratio(samples[HOSTED], serial)
    worker = max(facts[HOSTED].peaks)
    model = max(facts["serial, cold"].peaks)
    loads = max(host["loads"] for host in hosts)
    report.targets += [
        Target("loads, of eight workers", 1, loads, "loads"),
        Target("-n 8 cold with a host, over serial", 1.5, times, "times", interval=(fewest, most)),
        Target("memory over one model's, for each worker", 60, (peak - model) / 8 + worker, "MB"),
        Target("first vector of a kept host", 50, found["first"], "ms"),
        Target("32 texts: what the host adds", 1, more, "ms", interval=(low, high)),
    ]
    report.notes += [
        f"{len(serial)} rounds in turns, each with an empty cache directory; seconds by the clock, "
        "of a whole run of pytest. Memory is the largest peak, shared pages included; one "
        "model's is that of the serial run.",
        f"First vector: {len(first)} fresh processes, from the call of `encode` on; 32 texts: "
        f"{len(batches['here'])} batches in turns, both sides on all cores.",
    ]
    return report
