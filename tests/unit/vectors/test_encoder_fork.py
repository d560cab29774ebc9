"""A process that forks while its models work: the child waits for nobody, and counts for itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from support.encoders import right, world
from support.toys import DEADLOCK, Gate, start

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),  # 3.12
]


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work` was true in a forked child."""
    child = os.fork()
    if child == 0:
        signal.alarm(DEADLOCK)
        good = False
        try:
            good = work()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_child_forked_in_the_middle_of_work_computes_for_itself() -> None:
    """It waits neither for the parent's thread, nor for the lock that this thread holds."""
    w = world()
    gate = Gate()
    w.inner().before = gate
    parents = start(lambda: w.model().encode(["a"]))
    assert gate.reached.wait(DEADLOCK)

    def childs() -> bool:
        w.inner().before = lambda texts: None
        return bool(w.model().encode(["a"]).tobytes() == right(["a"]))

    assert in_child(childs)
    gate.open.set()
    assert parents.result(DEADLOCK).tobytes() == right(["a"])


def test_a_child_finds_what_its_parent_stored() -> None:
    """And computes what else it needs, alone; it counts its own work only."""
    w = world()
    w.model().encode(["a"])

    def childs() -> bool:
        found = w.model().encode(["a", "b"]).tobytes() == right(["a", "b"])
        return found and (w.tally()["asked"], w.tally()["computed"]) == (2, 1)

    assert in_child(childs)
    assert (w.tally()["asked"], w.tally()["computed"]) == (1, 1)
