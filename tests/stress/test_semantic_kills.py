"""Processes that change one semantic index, and processes that are killed while they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.children import python, python_path
from support.semantic import World, sound

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and fork")


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.stress)])
@pytest.mark.parametrize("kind", ["add", "rebuild", "save"])
def test_a_kill_leaves_the_index_whole(tmp_path: Path, kind: str, rounds: int) -> None:
    """After a SIGKILL what was acknowledged is there, nothing is by half, and all parts agree."""
    code = "from support.semantic_kills import main; main()"
    paths = {"PYTHONPATH": python_path("tests"), "OMP_NUM_THREADS": "1"}
    seen = json.loads(python(code, str(tmp_path), kind, str(rounds), **paths))
    assert seen["killed"] == rounds
    left = [name for name in os.listdir(tmp_path / "index") if name.startswith("build-")]
    with World(tmp_path).index() as index:
        index.rebuild()
    after = [name for name in os.listdir(tmp_path / "index") if name.startswith("build-")]
    assert len(after) == 1, f"of {len(left)} builds some are left"


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
