#!/usr/bin/env python3
"""Runs the small suite in demo/ on the real model, without and with the plugin's help.

plain   every test builds the model it needs, as people write it
cold    with embedding_model and get_model, from an empty cache directory
warm    the same again, with the directory that the cold run left, on two workers

Every run is a fresh pytest. The figures are those of this machine, now.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from real_model import real_model

SUITE = Path(__file__).parent / "demo"


@dataclass(frozen=True)
class Run:
    """One run of the suite: `seconds` by the clock, those below added up over the workers.

    `encoded` is how many texts the model had to encode, None where nobody counted.
    """

    name: str
    seconds: float
    tests: int
    loads: int
    import_seconds: float
    load_seconds: float
    encoded: int | None = None


def run_suite(name: str, *options: str, env: Mapping[str, str], scratch: Path) -> Run:
    """Run the suite and read what it counted; ends the demo if a test fails."""
    report, builds = scratch / f"{name}.json", scratch / f"{name}.txt"
    plain = name.startswith("plain")
    command = [sys.executable, "-m", "pytest", str(SUITE), "-q", "-p", "no:cacheprovider"]
    command += [*options, *([] if plain else [f"--embedcache-json={report}"])]
    extra = {"DEMO_PLAIN": str(builds)} if plain else {}
    print(f"\n---- {name}: pytest {' '.join(['examples/demo', *options])}", flush=True)
    start = time.perf_counter()
    ran = subprocess.run(
        command, cwd=scratch, env={**os.environ, **env, **extra}, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - start
    print(*(ran.stdout if ran.returncode else _shown(ran.stdout)), sep="", flush=True)
    if ran.returncode:
        sys.exit(f"❌ the suite failed in the run {name!r} (exit status {ran.returncode})")
    if plain:
        rows = [tuple(map(float, line.split())) for line in builds.read_text().splitlines()]
        imports, loading = map(sum, zip(*rows, strict=True))
        counted: tuple[Any, ...] = (len(rows), imports, loading)
    else:
        sums = json.loads(report.read_text(encoding="utf-8"))["totals"]
        counted = tuple(
            sums[key] for key in ("loads", "import_seconds", "load_seconds", "computed")
        )
    passed = re.search(r"(\d+) passed", ran.stdout)
    return Run(name, seconds, int(passed[1]) if passed else 0, *counted)


def _shown(output: str) -> Iterator[str]:
    """Of pytest's output the plugin's summary and the last line."""
    lines = output.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if " embedcache " in line), len(lines) - 1)
    yield from lines[max(0, start) :]


def table(runs: list[Run]) -> Iterator[str]:
    """The runs side by side."""
    yield (
        f"{'':<12}{'tests':>6}{'seconds':>9}{'loads':>7}{'importing':>11}{'loading':>9}"
        f"{'texts encoded':>15}"
    )
    for run in runs:
        encoded = "all" if run.encoded is None else run.encoded
        yield (
            f"{run.name:<12}{run.tests:>6}{run.seconds:>9.2f}{run.loads:>7}"
            f"{run.import_seconds:>9.2f} s{run.load_seconds:>7.2f} s{encoded:>15}"
        )


def saved(before: Run, after: Run) -> str:
    """One line on what the second run did not have to do."""
    seconds = before.seconds - after.seconds
    return (
        f"{after.name} against {before.name}: {before.loads - after.loads} of {before.loads} loads "
        f"saved, {seconds:.2f} of {before.seconds:.2f} s ({before.seconds / after.seconds:.2f} "
        "times as fast)"
    )


def main() -> None:
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    if missing := [name for name in ("sentence_transformers", "xdist") if find_spec(name) is None]:
        sys.exit(
            f"❌ the demo needs {' and '.join(missing)}: pip install 'pytest-embedcache[all]', "
            "or run it by `python3 run.py demo`"
        )
    print(__doc__)
    with real_model(), tempfile.TemporaryDirectory(prefix="embedcache-demo-") as folder:
        scratch = Path(folder)
        env = {
            "EMBEDCACHE_DIR": str(scratch / "cache"),
            # The plain runs would ask the Hub at every load; nobody is to wait for a network here.
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        # Once before the clock runs: no run pays for reading torch from the disk.
        subprocess.run([sys.executable, "-c", "import sentence_transformers"], check=True)
        runs = [
            run_suite("plain", env=env, scratch=scratch),
            run_suite("cold", env=env, scratch=scratch),
            run_suite("plain -n 2", "-n", "2", env=env, scratch=scratch),
            run_suite("warm -n 2", "-n", "2", env=env, scratch=scratch),
        ]
    plain, cold, plain_workers, warm = runs
    print("\n---- what was saved\n")
    print(*table(runs), sep="\n")
    print()
    print(saved(plain, cold))
    print(saved(plain_workers, warm))
    if (cold.loads, warm.loads, warm.encoded) != (1, 0, 0):
        sys.exit(
            "❌ the cold run should load once, and the warm one neither load nor encode; there "
            f"were {cold.loads} and {warm.loads} loads, and {warm.encoded} texts encoded"
        )
    print(f"\n✅ SUCCESS: {plain.loads} loads became {cold.loads} cold, and none warm")


if __name__ == "__main__":
    main()
