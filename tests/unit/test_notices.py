"""What went the slow way is said once, and counted every time."""

from __future__ import annotations

import os
import threading
import warnings

import pytest
from support.children import python

from pytest_embedcache import notices


def test_a_notice_is_logged_once_and_counted_every_time(caplog: pytest.LogCaptureFixture) -> None:
    """Three times the same is one line at WARNING, and a count of three."""
    for _ in range(3):
        notices.degraded("the disk is full")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "the disk is full")
    ]
    assert notices.counts() == {"the disk is full": 3}


def test_notices_are_listed_in_the_order_in_which_they_first_occurred() -> None:
    """A second occurrence does not move one to the end."""
    for message in ("b", "a", "b", "c"):
        notices.degraded(message)
    assert list(notices.counts().items()) == [("b", 2), ("a", 1), ("c", 1)]


def test_a_notice_is_no_python_warning() -> None:
    """A suite that turns warnings into errors is not broken by its cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notices.degraded("the disk is full")


def test_a_message_may_hold_percent_signs(caplog: pytest.LogCaptureFixture) -> None:
    """A path is not taken for a format."""
    notices.degraded("cannot write /tmp/100%s")
    assert caplog.messages == ["cannot write /tmp/100%s"]


def test_threads_lose_no_count(caplog: pytest.LogCaptureFixture) -> None:
    """Eight threads that say the same at once: one line, and every occurrence counted."""
    start = threading.Barrier(8)

    def speak() -> None:
        start.wait()
        for _ in range(500):
            notices.degraded("slow")

    threads = [threading.Thread(target=speak) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notices.counts() == {"slow": 4000}
    assert len(caplog.messages) == 1


def test_counts_are_the_callers_own() -> None:
    """Writing into what was returned changes nothing; `reset` forgets."""
    notices.degraded("slow")
    notices.counts().clear()
    assert notices.counts() == {"slow": 1}
    notices.reset()
    assert notices.counts() == {}


FORK = """
import os, threading, warnings
from pytest_embedcache import notices
warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is the point
inside, leave = threading.Event(), threading.Event()

def speak():
    with notices._lock:
        inside.set()
        leave.wait()

threading.Thread(target=speak).start()
inside.wait()
child = os.fork()
if not child:
    notices.degraded("slow")
    os._exit(notices.counts() != {"slow": 1})
leave.set()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_does_not_wait_for_a_thread_that_it_lacks() -> None:
    """Whoever was speaking when it was forked does not exist there."""
    assert python(FORK) == "0"
