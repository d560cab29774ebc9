"""Loading in threads beside everything else, and what becomes of them when the process ends.

The threads are daemons: a process that has nothing more to do does not wait for a model. But a
daemon that is inside torch's native code while the interpreter is taken down can crash it. So at
the exit they are stopped first, by an exception at their next step, and waited for.
"""

from __future__ import annotations

import atexit
import os
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_here", "say_failed", "start", "wait"]

#: Seconds at the exit after which a thread that cannot be stopped is left alone.
_LONGEST = 10.0

_threads: list[threading.Thread] = []
_ending = False


def start(work: Callable[[], object], what: str) -> threading.Thread:
    """Run `work` in a thread of its own, which is named after `what`; returns at once."""
    thread = threading.Thread(target=_run, args=(work,), name=f"embedcache-{what}", daemon=True)
    thread.start()
    return thread


def wait(timeout: float | None = None) -> bool:
    """Wait until no thread is left; False if there still is one after `timeout` seconds."""
    until = None if timeout is None else time.monotonic() + timeout
    for thread in list(_threads):
        if thread is not threading.current_thread():
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
    return not any(t.is_alive() for t in _threads if t is not threading.current_thread())


def is_here() -> bool:
    """Whether the calling thread is one of them."""
    return threading.current_thread() in _threads


def say_failed(model: str, error: Exception) -> None:
    """Log that a model could not be loaded. Not at the exit: what fails there is nobody's error."""
    if not _ending:
        import logging

        log = logging.getLogger(__name__)
        log.warning("Model %s could not be loaded in the background: %s", model, error)


def _run(work: Callable[[], object]) -> None:
    thread = threading.current_thread()
    _threads.append(thread)
    try:
        if not _ending:
            work()
    finally:
        _threads.remove(thread)


def _stop() -> None:
    """At the exit: interrupt every thread until it is gone."""
    global _ending
    _ending = True
    if not _threads:
        return
    import ctypes
    import sys

    said = sys.unraisablehook
    # One that is met inside a finalizer or a callback is printed, and lost.
    sys.unraisablehook = lambda lost: None if lost.exc_type is SystemExit else said(lost)
    interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc
    until = time.monotonic() + _LONGEST
    while (left := list(_threads)) and time.monotonic() < until:
        for thread in left:
            if thread.ident is not None:
                interrupt(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
            # Again, should something on its way have caught the first.
            thread.join(0.05)


def _after_fork_in_child() -> None:
    """The threads do not exist here."""
    _threads.clear()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
