"""Processes that write into one SQLite store, and processes that are killed while they do."""

from __future__ import annotations

import contextlib
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_embedcache.testing.contracts import MODEL, key_of, vector_of
from pytest_embedcache.vectors.sqlite import SqliteStore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")

IMPORTS = (
    "import hashlib, sys\n"
    "from pytest_embedcache.testing.contracts import MODEL, items_of, key_of, vector_of\n"
    "from pytest_embedcache.vectors.sqlite import SqliteStore\n"
)

#: Writes batches of 25 vectors, and says after each that it was accepted.
ENDLESS_WRITER = IMPORTS + (
    "store, number = SqliteStore(sys.argv[1], timeout=60), int(sys.argv[2])\n"
    "while True:\n"
    "    store.put_many(MODEL, items_of(*range(number, number + 25)))\n"
    "    number += 25\n"
    "    print(number, flush=True)\n"
)

#: Writes its own vectors, others that all write, and some for which each has another vector.
BUSY_WRITER = IMPORTS + (
    "store, me, count = SqliteStore(sys.argv[1], timeout=300), sys.argv[2], int(sys.argv[3])\n"
    "print('ready', flush=True)\n"
    "sys.stdin.readline()\n"
    "ended = hashlib.sha256()\n"
    "for start in range(0, count, 100):\n"
    "    names = range(start, start + 100)\n"
    "    items = items_of(*[n if n % 2 else (me, n) for n in names])\n"
    "    won = store.put_many(MODEL, items)\n"
    "    assert not won, 'another vector won where all are one'\n"
    "    mine = {key_of(('contested', n)): vector_of((me, n)) for n in names[:5]}\n"
    "    final = {**mine, **store.put_many(MODEL, mine)}\n"
    "    for key in sorted(final):\n"
    "        ended.update(final[key].tobytes())\n"
    "store.close()\n"
    "print(ended.hexdigest())\n"
)


def right(store: SqliteStore, names: list[object]) -> int:
    """How many of the names are stored; fails where a stored vector is wrong."""
    count = 0
    for start in range(0, len(names), 1000):
        part = names[start : start + 1000]
        found = store.get_many(MODEL, [key_of(name) for name in part])
        for name in part:
            if key_of(name) in found:
                assert found[key_of(name)].tobytes() == vector_of(name).tobytes(), name
                count += 1
    return count


@pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=pytest.mark.stress)])
def test_a_killed_writer_loses_nothing_that_was_accepted(tmp_path: Path, rounds: int) -> None:
    """After `kill -9` at any moment the store opens, holds all that was accepted, and no error."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    accepted: list[object] = []
    written = 0
    for _ in range(rounds):
        with subprocess.Popen(
            [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path), str(written)],
            stdout=subprocess.PIPE,
        ) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            assert first, "the writer did not start"
            # Somewhere within the next batches: between two statements or within one.
            select.select([], [], [], dice.uniform(0.0, 0.03))
            writer.kill()
            lines = [first, *writer.stdout.readlines()]
        # The last line may have been cut off; an acceptance that was not said does not count.
        told = int([line for line in lines if line.endswith(b"\n")][-1])
        accepted += range(written, told)
        store = SqliteStore(tmp_path)
        assert right(store, accepted[-2000:]) == len(accepted[-2000:])
        assert store.stats().corrupt == 0
        store.close()
        written = told + 25 * 1000  # beyond what was written and not accepted
    store = SqliteStore(tmp_path)
    assert right(store, accepted) == len(accepted)
    assert right(store, [n for a in accepted[-1:] for n in range(int(str(a)), int(str(a)) + 500)])
    assert list(store.verify()) == []
    assert store.stats().details["moved_aside"] == 0
    store.close()


@contextlib.contextmanager
def busy_writer(directory: Path, me: int, count: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_WRITER, str(directory), str(me), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as writer:
        try:
            yield writer
        finally:
            writer.kill()  # nothing, if it has ended


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.stress)])
def test_many_processes_write_into_one_store(tmp_path: Path, count: int) -> None:
    """Eight writers, started at once on a new store: none lost, none wrong, one winner for all."""
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(busy_writer(tmp_path, me, count)) for me in range(8)]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        started = time.perf_counter()
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        ended = []
        for writer in writers:
            out, err = writer.communicate()
            assert writer.returncode == 0, err
            ended.append(out.strip())
    seconds = time.perf_counter() - started
    print(f"8 processes, {count} vectors each, half of them shared: {seconds:.2f} s")
    # Whoever won, all eight ended with the same vectors.
    assert len(set(ended)) == 1
    store = SqliteStore(tmp_path)
    shared: list[object] = list(range(1, count, 2))
    own: list[object] = [(str(me), n) for me in range(8) for n in range(0, count, 2)]
    assert right(store, shared) == len(shared)
    assert right(store, own) == len(own)
    contested = count // 100 * 5
    assert store.stats().entries == len(shared) + len(own) + contested
    assert list(store.verify()) == []
    assert store.stats().details["moved_aside"] == 0
    store.close()
