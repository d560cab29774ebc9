"""A process that forks while its threads use an index: the child finds, or says why it cannot."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.children import python, python_path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

PREAMBLE = """
import sys, threading
from pathlib import Path
import numpy as np
from pytest_embedcache.errors import SemanticIndexError
from pytest_embedcache.search import VectorIndex, forked
from support.in_fork import in_child
from support.semantic import World, sound
home = Path(sys.argv[1])

def while_held(locks, work):
    "`in_child`, forked while another thread holds the locks."
    holding, done = threading.Event(), threading.Event()
    def hold():
        for lock in locks:
            lock.acquire()
        holding.set()
        done.wait(100)
        for lock in locks:
            lock.release()
    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(120)
    status = in_child(work)
    done.set()
    thread.join()
    return status
"""


def in_a_process(code: str, home: Path) -> str:
    return python(PREAMBLE + code, str(home), PYTHONPATH=python_path("tests"))


def test_a_child_searches_whatever_other_threads_held(tmp_path: Path) -> None:
    """No lock of the parent's threads is held in the child, and no connection is the parent's."""
    said = in_a_process(
        """
index = World(home).index()
index.add(["a cat", "a dog"])
sound(index, {"1": "a cat", "2": "a dog"})
opened, build = index._opened, index._opened.current()
vectors = build.vectors.current()
def work():
    assert build.entries._connection is None
    sound(index, {"1": "a cat", "2": "a dog"})
    index.add(["a bird"])
    sound(index, {"1": "a cat", "2": "a dog", "3": "a bird"})
status = while_held([opened._lock, build.vectors._lock, vectors._lock], work)
sound(index, {"1": "a cat", "2": "a dog", "3": "a bird"})
print(status)
""",
        tmp_path,
    )
    assert said == "0"


def test_a_child_leaves_a_file_alone_that_was_in_use(tmp_path: Path) -> None:
    """The fork does not wait for long, the child gets an error, and the parent goes on."""
    said = in_a_process(
        """
forked.PATIENCE = 0.01
world = World(home)
index = world.index()
index.add(["a cat"])
sound(index, {"1": "a cat"})
def work():
    for seen in (lambda: index, world.index):
        try:
            seen().search("x")
        except SemanticIndexError as error:
            assert "forked while another thread was using it" in str(error)
        else:
            raise AssertionError("it was searched")
status = while_held([index._opened.current().entries._lock], work)
index.add(["a dog"])
sound(index, {"1": "a cat", "2": "a dog"})
print(status)
""",
        tmp_path,
    )
    assert said == "0"


@pytest.mark.skipif(
    None in (find_spec("sqlite_vec"), find_spec("apsw")), reason="needs sqlite-vec and apsw"
)
def test_a_child_searches_by_sqlite_vec_or_without(tmp_path: Path) -> None:
    """Through a connection of its own; by a scan where the file was in use at the fork."""
    said = in_a_process(
        """
forked.PATIENCE = 0.01
index = VectorIndex.open(home, dimension=8, vector_backend="sqlite-vec")
index.add(range(80), np.arange(640, dtype=np.float32).reshape(80, 8) % 7)
backend = index._now.backend
wanted = index.search(np.eye(8)[3], 2)
def own():
    assert backend._connection is None
    assert index.search(np.eye(8)[3], 2) == wanted
    assert backend._connection is not None
def scan():
    assert index.search(np.eye(8)[3], 2) == wanted
    assert backend._connection is None
    other = VectorIndex.open(home, vector_backend="sqlite-vec")
    assert other.search(np.eye(8)[3], 2) == wanted
    assert other.stats().backend == "exact"
print(in_child(own), while_held([backend._lock], scan), index.search(np.eye(8)[3], 2) == wanted)
""",
        tmp_path,
    )
    assert said == "0 0 True"
