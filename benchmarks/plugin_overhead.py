"""What everybody pays in every run who has the plugin installed and does not use it."""

from __future__ import annotations

import compileall
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest_embedcache
from benchmarks.children import environment, no_other_plugins, pytest_seconds
from benchmarks.harness import Report, Target, difference, in_turns, say

MS = 1e3
HEAVY = ("numpy", "torch", "sentence_transformers", "huggingface_hub", "filelock", "sqlite3")

PROBE = """
import pytest, sys
assert pytest.main(sys.argv[1:]) == 0
assert "pytest_embedcache.plugin" in sys.modules
print("imported:", *sorted({heavy!r} & sys.modules.keys()))
"""


def _as_installed(folder: Path) -> str:
    """A copy of the package with the bytecode that pip leaves, and none that pytest left."""
    copy = folder / "pytest_embedcache"
    shutil.copytree(
        Path(pytest_embedcache.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    compileall.compile_dir(copy, quiet=1)
    return str(folder)


def run(*, quick: bool = False) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "suite")
        suite.mkdir()
        (suite / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
        (suite / "test_nothing.py").write_text("def test_nothing(): pass\n", encoding="ascii")
        alone = no_other_plugins()
        kept = environment()
        none = environment(
            PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=_as_installed(Path(folder, "site"))
        )
        without = [*alone, "-p", "no:embedcache"]
        cases = {
            "without": lambda: pytest_seconds(suite, *without, env=kept),
            "with": lambda: pytest_seconds(suite, *alone, env=kept),
            "without, no bytecode": lambda: pytest_seconds(suite, *without, env=none),
            "with, no bytecode": lambda: pytest_seconds(suite, *alone, env=none),
        }
        for case in cases.values():
            case()  # writes the bytecode, and reads everything from the disk once
        samples = in_turns(cases, 2 if quick else 41, progress=None if quick else say)
        probe = PROBE.format(heavy=set(HEAVY))
        command = [sys.executable, "-c", probe, "-q", "-p", "no:cacheprovider", *alone]
        ran = subprocess.run(
            command, cwd=suite, env=kept, capture_output=True, text=True, check=True
        )
    imported = ran.stdout.rpartition("imported:")[2].split()

    report = Report(
        "plugin_overhead: pytest on an empty suite",
        ("ms (median)", "on top (median of pairs)", "95 % interval"),
    )
    for label, suffix in (("", ""), (" (no bytecode kept)", ", no bytecode")):
        base, ours = samples[f"without{suffix}"], samples[f"with{suffix}"]
        report.row(f"without the plugin{label}", f"{statistics.median(base) * MS:.1f}", "", "")
        more, low, high = (value * MS for value in difference(ours, base))
        report.row(
            f"with the plugin{label}",
            f"{statistics.median(ours) * MS:.1f}",
            f"{more:.1f}",
            f"{low:.1f} to {high:.1f}",
        )
        if not suffix:
            target = Target("the plugin adds", 15, more, "ms", interval=(low, high))
    report.targets += [
        target,
        Target("heavy packages imported by it", 0, len(imported), "packages"),
    ]
    report.notes += [
        f"{len(base)} rounds in turns, a process each; one test that does nothing, and no other "
        "plugin, so that no import is shared with one.",
        "No bytecode kept: under PYTHONDONTWRITEBYTECODE=1, as in many containers, pytest compiles "
        "every plugin anew in every run.",
        f"Looked for in sys.modules: {', '.join(HEAVY)}; found: {', '.join(imported) or 'none'}.",
    ]
    return report
