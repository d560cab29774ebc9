"""The garbage collector stands still inside, and is as it was found afterwards."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest
from support.children import python

from pytest_embedcache.models.collector import collector_paused


@pytest.fixture(autouse=True)
def _collector_as_it_was() -> Iterator[None]:
    before = gc.isenabled()
    gc.enable()
    yield
    if before:
        gc.enable()
    else:
        gc.disable()


def test_the_collector_stands_still_inside() -> None:
    """Disabled inside, enabled again afterwards."""
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_the_user_switched_off_stays_off() -> None:
    """What was found is put back, and not what is usual."""
    gc.disable()
    with collector_paused():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_an_error_inside_puts_the_collector_back() -> None:
    """Also when the import or the load fails."""
    with pytest.raises(ValueError, match="no model"), collector_paused():
        raise ValueError("no model")
    assert gc.isenabled()


def test_an_inner_pause_does_not_end_the_outer_one() -> None:
    """Remote code may load a model of its own within a load."""
    with collector_paused():
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_last_of_several_threads_puts_the_collector_back(enabled: bool) -> None:
    """Two pauses that overlap are one, from the first's entry to the last's exit."""
    gc.enable() if enabled else gc.disable()
    inside, leave, seen = threading.Event(), threading.Event(), []

    def first() -> None:
        with collector_paused():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with collector_paused():
        leave.set()
        thread.join()
        seen.append(gc.isenabled())
    seen.append(gc.isenabled())
    assert seen == [False, enabled]


def test_an_error_in_one_thread_does_not_end_the_pause_of_another() -> None:
    """Counted, whoever leaves and however."""
    with collector_paused():

        def fail() -> None:
            with pytest.raises(RuntimeError, match="no model"), collector_paused():
                raise RuntimeError("no model")

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        assert not gc.isenabled()
    assert gc.isenabled()


FORKED = """
import gc, os, threading, warnings
from pytest_embedcache.models.collector import collector_paused
warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is the point
inside, leave = threading.Event(), threading.Event()

def load():
    with collector_paused():
        inside.set()
        leave.wait()

threading.Thread(target=load, daemon=True).start()
inside.wait()
child = os.fork()
if not child:
    seen = [gc.isenabled()]
    with collector_paused():
        seen.append(gc.isenabled())
    seen.append(gc.isenabled())
    os._exit(seen != [True, False, True])
leave.set()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_does_not_inherit_the_pause_of_a_thread_that_it_lacks() -> None:
    """The thread that would have ended the pause does not exist there: the collector runs."""
    assert python(FORKED) == "0"
