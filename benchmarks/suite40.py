"""Forty small tests on the real model: a session fixture against `embedding_model`."""

from __future__ import annotations

import functools
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.children import environment, no_other_plugins, pytest_seconds
from benchmarks.harness import Report, Target, in_turns, ratio, say
from examples.real_model import real_model

SUITES = Path(__file__).parent / "suites"
#: Of some the slow variants take half a minute a run.
ROUNDS = 3
WORKERS = {"serial": (), "-n 2": ("-n", "2"), "-n 8": ("-n", "8")}

#: Label -> the suite's folder, its mode, and whether its cache directory is emptied before.
VARIANTS = {
    "empty tests": ("empty", None, False),
    "session fixture": ("plain", None, False),
    "embedding_model, mode live": ("embedcache", "live", True),
    "embedding_model, cold": ("embedcache", "auto", True),
    "embedding_model, warm": ("embedcache", "auto", False),
}
#: The same for the drop-in, on the suite that has a session fixture of its own.
DROPIN_COLD, DROPIN_WARM = "session fixture, drop-in, cold", "session fixture, drop-in, warm"
DROPIN = {DROPIN_COLD: ("plain", None, True), DROPIN_WARM: ("plain", None, False)}
EMPTY, PLAIN = "empty tests", "session fixture"
LIVE, COLD, WARM = (f"embedding_model, {how}" for how in ("mode live", "cold", "warm"))


@dataclass
class Facts:
    """What the processes of all runs of one case noted."""

    peaks: list[float] = field(default_factory=list)
    torch: bool = False

    def forget(self) -> None:
        self.peaks.clear()
        self.torch = False

    def read(self, folder: Path, *, workers: bool) -> None:
        for file in folder.glob("gw*.json" if workers else "main.json"):
            found = json.loads(file.read_text(encoding="utf-8"))
            self.peaks.append(found["peak_mb"])
            self.torch |= found["torch"]


def run(*, quick: bool = False) -> Report:
    facts: dict[str, Facts] = {}
    samples: dict[str, list[float]] = {}
    with real_model() as model, tempfile.TemporaryDirectory() as folder:
        for how in ["serial"] if quick else WORKERS:
            cases: dict[str, Callable[[], float]] = {}
            for label in VARIANTS:
                name = f"{label}, {how}"
                facts[name] = Facts()
                cases[name] = functools.partial(
                    run_once, label, how, facts[name], model, Path(folder)
                )
            if how == "serial":
                for case in cases.values():
                    case()  # reads everything from the disk once, and stores the vectors
                for found in facts.values():
                    found.forget()
            samples |= in_turns(cases, 1 if quick else ROUNDS, progress=None if quick else say)
    return _report(samples, facts)


def run_once(label: str, how: str, facts: Facts, model: str, folder: Path, *extra: str) -> float:
    """Seconds of one run of a variant, with `extra` options of pytest."""
    suite, mode, fresh = (VARIANTS | DROPIN)[label]
    cache, noted = folder / ("fresh" if fresh else "kept"), folder / "facts"
    if fresh:
        shutil.rmtree(cache, ignore_errors=True)
    shutil.rmtree(noted, ignore_errors=True)
    noted.mkdir()
    # No other plugin than xdist, so that the figures do not depend on what else is installed.
    options = [*no_other_plugins("xdist", "xdist.looponfail"), *WORKERS[how], *extra]
    options += [] if mode is None else [f"--embedcache-mode={mode}"]
    options += ["--embedcache-dropin"] if label in DROPIN else []
    env = environment(
        EMBEDCACHE_DIR=str(cache),
        BENCH_FACTS=str(noted),
        BENCH_MODEL=model,
        # Without it the session fixture asks the Hub, and waits for the network in every process.
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )
    if suite == "embedcache":
        env["EMBEDCACHE_MODEL"] = model
    elif label not in DROPIN:
        del env["EMBEDCACHE_DIR"]  # the plugin stays out of it
    seconds = pytest_seconds(SUITES / suite, *options, env=env)
    facts.read(noted, workers=bool(WORKERS[how]))
    return seconds


def _report(samples: dict[str, list[float]], facts: dict[str, Facts]) -> Report:
    report = Report(
        "suite40: forty tests on the real model",
        ("s (median)", "faster than session fixture", "95 % interval", "MB per process", "torch"),
    )
    for name, values in samples.items():
        how = name.rpartition(", ")[2]
        times, low, high = ratio(samples[f"{PLAIN}, {how}"], values)
        report.row(
            name,
            f"{statistics.median(values):.2f}",
            f"{times:.2f} x",
            f"{low:.2f} to {high:.2f}",
            f"{max(facts[name].peaks):.0f}",
            "yes" if facts[name].torch else "no",
        )
    for label in (LIVE, COLD):
        if f"{label}, -n 8" in samples:
            times, low, high = ratio(samples[f"{PLAIN}, -n 8"], samples[f"{label}, -n 8"])
            report.targets.append(
                Target(f"{label}, -n 8", 1.25, times, "times", at_least=True, interval=(low, high))
            )
    rounds = len(next(iter(samples.values())))
    report.notes += [
        f"{rounds} rounds in turns. Seconds by the clock, of a whole run of pytest. Memory is the "
        "largest peak of one process (of a worker, where there are some), shared pages included.",
        "Mode live keeps no vectors: what it gains is threads and the garbage collector. Cold "
        "starts with an empty cache directory, warm with one that an earlier run left.",
    ]
    return report
