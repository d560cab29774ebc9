"""A process that changes an index is killed at any moment: the state before or after is there.

A sample of the lines by default; `-m stress` kills before every line, and 100 times at random.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.usearch import needs_usearch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only POSIX kills like this")

KILLS = Path(__file__).parents[1] / "support" / "index_kills.py"
ACTIONS = ["add", "remove", "rebuild", "save"]


def play(tmp_path: Path, action: str, backend: str, how: str, count: int) -> Any:
    if backend == "sqlite-vec":
        pytest.importorskip("sqlite_vec")
        pytest.importorskip("apsw")
    if backend == "approximate":
        needs_usearch()
    seed = int(os.environ.get("EMBEDCACHE_STRESS_SEED") or random.SystemRandom().getrandbits(32))
    print(f"repeat with EMBEDCACHE_STRESS_SEED={seed}")
    ran = subprocess.run(
        [sys.executable, str(KILLS), str(tmp_path), action, backend, how, str(count), str(seed)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert "wrong" not in found, found
    print(found)
    return found


@pytest.mark.parametrize("action", ACTIONS)
def test_a_kill_before_some_lines(tmp_path: Path, action: str) -> None:
    """Both states are seen, what was left behind is not, and the index can be changed again."""
    found = play(tmp_path, action, "exact", "lines", 17)
    assert found["killed"] > 10
    assert found["before"] > 0
    assert found["after"] > 0
    assert found["left"] > 0, "no kill left anything behind: nothing was shown"


def test_a_kill_while_sqlite_vec_is_brought_up_to_date(tmp_path: Path) -> None:
    """What the kill left undone is done by the next, and the answers are the same."""
    found = play(tmp_path, "add", "sqlite-vec", "lines", 29)
    assert found["killed"] > 8
    assert found["after"] > 0


@pytest.mark.stress
@pytest.mark.parametrize("backend", ["exact", "sqlite-vec", "approximate"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_kill_before_every_line(tmp_path: Path, action: str, backend: str) -> None:
    """All lines of the package that the action runs."""
    found = play(tmp_path, action, backend, "lines", 1)
    assert found["killed"] > 150


@pytest.mark.stress
@pytest.mark.parametrize("backend", ["exact", "sqlite-vec", "approximate"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_hundred_kills_at_random(tmp_path: Path, action: str, backend: str) -> None:
    """Also in the middle of what the system and the libraries do."""
    found = play(tmp_path, action, backend, "random", 100)
    assert found["killed"] == 100
    assert found["before"] > 0
