"""Processes that change an index and are killed while they do: before a chosen line, or sometime.

Run as a script, so that they are forked from a process without threads. Prints one JSON object.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import filelock  # noqa: F401 - before the start, so that little of a child's time is imports
import numpy as np

import pytest_embedcache
from pytest_embedcache.search import VectorIndex

DIMENSION = 16
HOME = str(Path(pytest_embedcache.__file__).parent)
OURS = (str(Path(HOME, "search")), str(Path(HOME, "files.py")))
BEFORE = {n: [float(n)] * DIMENSION for n in range(40)}
CHANGED = {n: [float(-n)] * DIMENSION for n in range(30, 60)}


def add(index: VectorIndex, folder: Path) -> None:
    index.put(list(CHANGED), list(CHANGED.values()))


def remove(index: VectorIndex, folder: Path) -> None:
    index.remove(range(10))


def rebuild(index: VectorIndex, folder: Path) -> None:
    index.rebuild([(list(CHANGED), list(CHANGED.values()))])


def save(index: VectorIndex, folder: Path) -> None:
    index.save(folder / "copy")


#: What is done, and what the index, or its copy, holds before and after.
ACTIONS: dict[str, tuple[Callable[[VectorIndex, Path], None], str, list[dict[int, Any]]]] = {
    "add": (add, "index", [BEFORE, BEFORE | CHANGED]),
    "remove": (remove, "index", [BEFORE, {n: v for n, v in BEFORE.items() if n >= 10}]),
    "rebuild": (rebuild, "index", [BEFORE, CHANGED]),
    "save": (save, "copy", [CHANGED, BEFORE]),
}


def template(folder: Path, backend: str) -> None:
    """An index with rows of no use in it, and another where it will be copied to."""
    with VectorIndex.open(folder / "index", dimension=DIMENSION, vector_backend=backend) as index:
        index.add(list(BEFORE), [[1.0] * DIMENSION] * len(BEFORE))
        index.update(list(BEFORE), list(BEFORE.values()))
    with VectorIndex.open(folder / "copy", dimension=DIMENSION, vector_backend=backend) as copy:
        copy.add(list(CHANGED), list(CHANGED.values()))


def killed(action: Callable[[], None], line: int | None, delay: float) -> bool:
    """Do it in a child that is killed before its `line`-th line, or after `delay` seconds."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.write(writing, b"x")
        if line is not None:
            sys.settrace(_killer(line))
        try:
            action()
        finally:
            sys.settrace(None)
            os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    if line is None:
        # Ends early when the child does.
        select.select([reading], [], [], delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    return os.WIFSIGNALED(status)


def _killer(line: int) -> Callable[..., Any]:
    left = [line]

    def inside(frame: FrameType, event: str, value: object) -> Any:
        if event == "line":
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return inside

    def outside(frame: FrameType, event: str, value: object) -> Any:
        return inside if frame.f_code.co_filename.startswith(OURS) else None

    return outside


def held(path: Path, backend: str) -> dict[int, list[float]]:
    """What an index holds, as its searches see it, too."""
    with VectorIndex.open(path, vector_backend=backend) as index:
        ids = index.ids().tolist()
        found = dict(zip(ids, index.get(ids).tolist(), strict=True))
        hits = index.search(np.ones(DIMENSION), 1000)
        assert sorted(hit.id for hit in hits) == ids
        index.add([1000], [[1.0] * DIMENSION])  # it goes on
        assert len(index) == len(found) + 1
    return found


def rounds(
    folder: Path,
    name: str,
    backend: str,
    steps: Iterator[tuple[int | None, float]],
    kills: int,
) -> Any:
    """Do it again and again, until so many were killed; what was found afterwards."""
    action, place, states = ACTIONS[name]
    template(folder / "template", backend)
    outcome: dict[str, Any] = {"killed": 0, "before": 0, "after": 0, "left": 0}
    for line, delay in steps:
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(folder / "template", work)
        index = VectorIndex.open(work / "index", vector_backend=backend)
        start = time.perf_counter()
        was_killed = killed(lambda index=index, work=work: action(index, work), line, delay)  # type: ignore[misc]
        outcome["seconds"] = time.perf_counter() - start
        index.close()
        files = len(list((work / place / "v1").iterdir()))
        after = held(work / place, backend)
        if after not in states:
            return outcome | {"wrong": [name, line, delay, after]}
        outcome["killed"] += was_killed
        outcome["after" if after == states[1] else "before"] += 1
        outcome["left"] += files > len(list((folder / "template" / place / "v1").iterdir()))
        if outcome["killed"] == kills or (line is not None and not was_killed):
            break  # there are no more lines
    return outcome


def main() -> None:
    folder, name, backend, how, count, seed = sys.argv[1:]
    draw = random.Random(int(seed))
    if how == "lines":
        steps: Iterator[tuple[int | None, float]] = (
            (line, 0.0) for line in range(0, 100_000, int(count))
        )
    else:
        first = rounds(Path(folder, "first"), name, backend, iter([(None, 60.0)]), 1)
        steps = ((None, draw.random() * first["seconds"]) for _ in itertools.count())
    most = int(count) if how == "random" else sys.maxsize
    print(json.dumps(rounds(Path(folder), name, backend, steps, most)))


if __name__ == "__main__":
    main()
