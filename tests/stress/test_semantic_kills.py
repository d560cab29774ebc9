"""Processes that change one semantic index, and processes that are killed while they do."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.children import python, python_path
from support.semantic import World, sound

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and fork")


ACTIONS = ["add", "update", "delete", "save", "rebuild", "build"]


def play(tmp_path: Path, action: str, how: str, count: int) -> Any:
    seed = os.environ.get("EMBEDCACHE_STRESS_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"repeat with EMBEDCACHE_STRESS_SEED={seed}")
    code = "from support.semantic_kills import main; main()"
    paths = {"PYTHONPATH": python_path("tests"), "OMP_NUM_THREADS": "1"}
    found = json.loads(python(code, str(tmp_path), action, how, str(count), seed, **paths))
    assert "wrong" not in found, found
    print(found)
    return found


@pytest.mark.parametrize("action", ["add", "save", "rebuild"])
def test_a_kill_before_some_lines_leaves_the_index_whole(tmp_path: Path, action: str) -> None:
    """The state before or after is there, and entries, words and vectors agree."""
    found = play(tmp_path, action, "lines", 151 if action == "rebuild" else 61)
    assert found["killed"] > 4
    assert found["before"] + found["after"] == found["killed"] + 1
    if action == "rebuild":
        assert found["left"] > 0, "no kill left anything behind: nothing was shown"


@pytest.mark.stress
@pytest.mark.parametrize("action", ACTIONS)
def test_a_kill_before_every_third_line_leaves_the_index_whole(tmp_path: Path, action: str) -> None:
    """As above, for everything that changes an index."""
    assert play(tmp_path, action, "lines", 3)["killed"] > 40


@pytest.mark.stress
@pytest.mark.parametrize("action", ACTIONS)
def test_a_hundred_kills_leave_the_index_whole(tmp_path: Path, action: str) -> None:
    """As above, at any moment, also inside of SQLite."""
    found = play(tmp_path, action, "sometime", 100)
    assert found["killed"] == 100


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    """Three processes add, change and remove while a fourth rebuilds; all of it is there."""
    World(tmp_path).index().add(["first"], ids=["first"])
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pytest_embedcache.errors import SemanticIndexError\n"
        "from support.semantic import World\n"
        "me, index = sys.argv[2], World(Path(sys.argv[1])).index()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for n in range(8):\n"
        "    if me == 'rebuilder':\n"
        "        index.rebuild()\n"
        "        continue\n"
        "    index.add([f'text {me} {n}', f'gone {me} {n}'], ids=[f'{me} {n}', f'gone {me} {n}'])\n"
        "    index.delete([f'gone {me} {n}'])\n"
        "    index.update(f'{me} {n}', text=f'new {me} {n}')\n"
        "    assert f'{me} {n}' in {found.id for found in index.search('x', k=999)}\n"
    )
    environment = {**os.environ, "PYTHONPATH": python_path("tests"), "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, str(tmp_path), name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b", "c", "rebuilder")
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=300)
        assert child.returncode == 0, errors
    expected = {f"{name} {n}": f"new {name} {n}" for name in "abc" for n in range(8)}
    sound(World(tmp_path).index(), {"first": "first", **expected})
