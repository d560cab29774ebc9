"""A herd of processes that ask for one artifact at once, and the wolf among them.

Run as a script, so that the herd is forked from a process without threads. Prints one JSON object.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import filelock  # noqa: F401 - before the start, so that all ask at once

from pytest_embedcache.models.artifacts import ArtifactStore, Built

FILES = 8
SIZE = 64 * 1024


def ask(cache: str, log: Path, go: int) -> None:
    """One of the herd: what it sees, it writes into the log."""
    # The evidence is a record lock, other than the lock under test, on a descriptor opened earlier:
    # when a process dies, the kernel frees it first.
    evidence = os.open(f"{log}.evidence", os.O_RDWR | os.O_CREAT)
    out = os.open(log, os.O_WRONLY | os.O_APPEND)

    def say(what: str) -> None:
        os.write(out, f"{what}\n".encode())

    def build(directory: Path) -> Built:
        try:
            fcntl.lockf(evidence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("two at a time")
        say(f"begun {os.getpid()}")
        names = []
        for number in range(FILES):
            names.append(f"part-{number}")
            with open(directory / names[-1], "wb", buffering=0) as stream:
                for _ in range(SIZE // 4096):
                    stream.write(bytes([number]) * 4096)
                os.fsync(stream.fileno())
        say(f"made {os.getpid()}")
        fcntl.lockf(evidence, fcntl.LOCK_UN)
        return Built(names)

    os.read(go, 1)  # until the other end is closed
    store = ArtifactStore(cache)
    found = store.ensure("export", "model", build, what="the export")
    contents = [Path(found.root, name).read_bytes() for name in found.files]
    if contents != [bytes([number]) * SIZE for number in range(FILES)]:
        say("half-written")
    say(f"done {store.built}")


def preparing(log: Path) -> int | None:
    """The process that is preparing now, as far as the log tells."""
    lines = log.read_text().split("\n")[:-1]
    last = [line.split() for line in lines if line.startswith(("begun", "made"))][-1:]
    return int(last[0][1]) if last and last[0][0] == "begun" else None


def main(cache: str, log: Path, size: int, kills: int, seed: int) -> None:
    log.write_bytes(b"")
    draw = random.Random(seed)
    go, start = os.pipe()
    alive = set()
    for _ in range(size):
        child = os.fork()
        if not child:
            os.close(start)
            status = 1
            try:
                ask(cache, log, go)
                status = 0
            finally:
                os._exit(status)
        alive.add(child)
    os.close(go)
    os.close(start)
    killed: list[int] = []
    failed = []
    while alive:
        if len(killed) < kills:
            time.sleep(draw.uniform(0, 0.01))
            # Mostly whoever prepares; and anybody, who may be about to.
            victim = preparing(log) if draw.random() < 0.8 else draw.choice(sorted(alive))
            if victim in alive:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
        child, status = os.waitpid(-1, os.WNOHANG if len(killed) < kills else 0)
        alive.discard(child)
        if child and status and child not in killed:
            failed.append(child)
    lines = log.read_text().split("\n")[:-1]
    print(json.dumps({"killed": len(killed), "failed": failed, "log": lines}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
