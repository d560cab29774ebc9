"""Processes that change a semantic index and are killed while they do: before a chosen line, or
sometime.

Run as a process of its own, without threads, from which they are forked. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache.search import Entry, SemanticIndex
from support.index_kills import killed
from support.semantic import World, sound

__all__ = ["main"]

BEFORE = {f"first {n}": f"text {n}" for n in range(12)}
ADDED = {f"new {n}": f"added {n}" for n in range(5)}


def add(index: SemanticIndex) -> None:
    index.add(list(ADDED.values()), ids=list(ADDED))


def update(index: SemanticIndex) -> None:
    index.update("first 3", text="changed")


def delete(index: SemanticIndex) -> None:
    index.delete(["first 0", "first 1"])


def save(index: SemanticIndex) -> None:
    """What was added is in no vector index before it is looked for."""
    index.search("anything", k=1)


def rebuild(index: SemanticIndex) -> None:
    index.rebuild()


def build(index: SemanticIndex) -> None:
    entries = [Entry(name, text, {}) for name, text in ADDED.items()]
    SemanticIndex.build(index.path, entries, World(index.path.parent).model)


#: What is done, and what the index holds after it.
ACTIONS: dict[str, tuple[Callable[[SemanticIndex], None], dict[str, str]]] = {
    "add": (add, BEFORE | ADDED),
    "update": (update, BEFORE | {"first 3": "changed"}),
    "delete": (delete, {n: t for n, t in BEFORE.items() if n not in ("first 0", "first 1")}),
    "save": (save, BEFORE),
    "rebuild": (rebuild, BEFORE),
    "build": (build, ADDED),
}


def template(folder: Path) -> None:
    """An index whose vector index is behind by half of its entries."""
    names = list(BEFORE)
    with World(folder).index() as index:
        for part in (names[:6], names[6:]):
            index.search("anything")
            index.add([BEFORE[name] for name in part], ids=part)


def is_whole(work: Path, expected: dict[str, str]) -> bool:
    """Whether the index holds these entries; fails where its parts do not agree."""
    with World(work).index() as index:
        here = {name: row.text for name, row in _rows(index).items()}
        sound(index, here)
        sound(index, here)  # as it was brought up to date
    return here == expected


def _rows(index: SemanticIndex) -> dict[str, Any]:
    return {row.id: row for row in index._opened.current().entries.rewritten(0)[3]}


def once(folder: Path, name: str, line: int | None, delay: float) -> bool:
    """Do it in a copy of the template, in a child; whether the child was killed."""
    shutil.rmtree(folder / "work", ignore_errors=True)
    shutil.copytree(folder / "template", folder / "work")
    with World(folder / "work").index() as index:
        return killed(lambda: ACTIONS[name][0](index), line, delay)


def rounds(folder: Path, name: str, steps: Iterator[tuple[int | None, float]], most: int) -> Any:
    after, work = ACTIONS[name][1], folder / "work"
    outcome = {"killed": 0, "before": 0, "after": 0, "left": 0}
    for line, delay in steps:
        was_killed = once(folder, name, line, delay)
        outcome["killed"] += was_killed
        builds = [file for file in os.listdir(work / "index") if file.startswith("build-")]
        outcome["left"] += len(builds) > 1
        if is_whole(work, after):
            outcome["after"] += 1
        elif is_whole(work, BEFORE):
            outcome["before"] += 1
        else:
            return outcome | {"wrong": [name, line, delay]}
        with World(work).index() as again:  # it goes on, and what was left goes
            again.rebuild()
        assert is_whole(work, after) or is_whole(work, BEFORE)
        builds = [file for file in os.listdir(work / "index") if file.startswith("build-")]
        assert len(builds) == 1, builds
        if outcome["killed"] == most or (line is not None and not was_killed):
            break  # or there are no more lines
    return outcome


def main() -> None:
    folder, name, how, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    template(folder / "template")
    steps: Iterator[tuple[int | None, float]] = ((line, 0.0) for line in range(0, 10**6, count))
    if how == "sometime":
        start = time.perf_counter()
        once(folder, name, None, 60.0)
        longest = time.perf_counter() - start
        draw = random.Random(int(sys.argv[5]))
        steps = ((None, draw.random() * longest) for _ in range(10 * count))
    print(json.dumps(rounds(folder, name, steps, count if how == "sometime" else 10**6)))
