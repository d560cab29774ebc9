"""Runs of pytest in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

__all__ = ["call_in_child", "environment", "no_other_plugins", "pytest_seconds", "start_child"]

ROOT = Path(__file__).parents[1]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a run: this one without what changes pytest or keeps bytecode away."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "EMBEDCACHE_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    return kept | changes


def no_other_plugins(*others: str) -> list[str]:
    """Options that keep every installed plugin but ours, and the `others`, away."""
    names = {found.name for found in entry_points(group="pytest11")} - {"embedcache", *others}
    return [part for name in sorted(names) for part in ("-p", f"no:{name}")]


def start_child(module: str, *arguments: str, **changes: str) -> subprocess.Popen[str]:
    """A fresh process that calls `module.main(*arguments)`, with pipes to all its ends."""
    # At the end of sys.path: the checkout does not stand in for an installed package.
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); import importlib; "
        "importlib.import_module(sys.argv[1]).main(*sys.argv[2:])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, module, *arguments],
        env=environment(**changes),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call_in_child(module: str, *arguments: str, **changes: str) -> str:
    """What `module.main(*arguments)` prints in a fresh process.

    Raises `RuntimeError` with what it wrote to standard error if it fails.
    """
    child = start_child(module, *arguments, **changes)
    output, errors = child.communicate()
    if child.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{errors}")
    return output


def pytest_seconds(suite: Path, *options: str, env: Mapping[str, str]) -> float:
    """Seconds of one run by the clock.

    Raises `RuntimeError` with pytest's output if a test fails.
    """
    command = [sys.executable, "-m", "pytest", str(suite), "-q", "-p", "no:cacheprovider", *options]
    start = time.perf_counter()
    ran = subprocess.run(
        command, cwd=suite, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seconds = time.perf_counter() - start
    if ran.returncode:
        raise RuntimeError(f"pytest {' '.join(options)} failed:\n{ran.stdout}")
    return seconds
