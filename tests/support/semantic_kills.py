"""Processes that change a semantic index and are killed while they do.

Run as a process of its own, without threads: its children are forks, which begin at once.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pytest_embedcache import notices
from pytest_embedcache.search import SemanticIndex
from support.semantic import World, sound

__all__ = ["main"]

#: Seconds after which a child is killed, at most; drawn evenly in the logarithm.
SHORTEST, LONGEST = 0.001, 0.5


def main() -> None:
    """`path kind rounds`: kill so often, look each time, and print what was seen as JSON."""
    path, kind, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    draw = random.Random(kind)
    with World(path).index() as index:
        index.add([f"first {n}" for n in range(20)], ids=[f"first {n}" for n in range(20)])
    seen = {"killed": 0, "acknowledged": 0, "anew": 0}
    for number in range(rounds):
        wait = SHORTEST * (LONGEST / SHORTEST) ** draw.random()
        told = killed(path, kind, number, wait)
        seen["killed"] += 1
        seen["acknowledged"] += len(told)
        look(path, told)
        seen["anew"] += sum("anew" in message for message in notices.counts())
        notices.reset()
    print(json.dumps(seen))


def killed(path: Path, kind: str, number: int, wait: float) -> list[str]:
    """What a child said that it had done, before it was killed `wait` seconds after its start."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            change(World(path).index(), kind, number, writing)
        except BaseException as error:
            os.write(writing, f"! {error!r}\n".encode())
        os._exit(1)
    os.close(writing)
    assert select.select([reading], [], [], 30)[0], "the child does not begin"
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = b""
    while part := os.read(reading, 65536):
        said += part
    os.close(reading)
    lines = said.decode().split("\n")[:-1]  # what follows the last line's end was cut
    assert lines[0] == "ready", lines
    assert not any(line.startswith("!") for line in lines), lines
    return lines[1:]


def change(index: SemanticIndex, kind: str, number: int, writing: int) -> None:
    """Change the index without end, and say what is done."""

    def say(line: str) -> None:
        os.write(writing, f"{line}\n".encode())

    index.search("anything", k=1)  # what is opened late is open
    say("ready")
    step = 0
    while True:
        names = [f"{number} {step} {part}" for part in range(5)]
        if kind == "rebuild":
            index.rebuild()
            say("rebuilt")
        else:
            index.add([f"text {name}" for name in names], ids=names)
            index.update(names[0], text=f"changed {names[0]}")
            index.delete(names[1:2])
            if kind == "save":  # what was added is in no vector index before it is looked for
                index.search("anything", k=1)
            say(names[0].rpartition(" ")[0])
        step += 1


def look(path: Path, told: list[str]) -> None:
    """Everything that was acknowledged is there, whole, and so is everything else."""
    index = World(path).index()
    entries: dict[str, str] = {}
    rows: list[Any] = index._opened.current().entries.rewritten(0)[3]
    for row in rows:
        entries[row.id] = row.text
    for name in told:
        if name == "rebuilt":
            continue
        assert entries[f"{name} 0"] == f"changed {name} 0"
        assert f"{name} 1" not in entries
        assert entries[f"{name} 4"] == f"text {name} 4"
    for name in {entry.rpartition(" ")[0] for entry in entries if not entry.startswith("first")}:
        here = {part for part in range(5) if f"{name} {part}" in entries}
        assert here in ({0, 1, 2, 3, 4}, {0, 2, 3, 4}), f"half of one add is there: {name} {here}"
    assert len([entry for entry in entries if entry.startswith("first")]) == 20
    sound(index, entries)
    if len(entries) > 300:  # as long as this takes, nothing is killed
        index.delete([entry for entry in entries if not entry.startswith("first")])
    index.close()
