"""Models that nobody has used for a while are unloaded.

Nothing here exists before a model has a timeout: no thread, no clock. The thread is one for all
models, a daemon, and ends when there is nothing left to unload.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_embedcache.errors import SettingsError

if TYPE_CHECKING:
    from pytest_embedcache.models.handle import ModelHandle

__all__ = ["AT_ONCE", "NEVER", "IdleUnloader", "default_idle_timeout", "idle", "read_timeout"]

#: As users of Ollama know them.
NEVER = -1.0
AT_ONCE = 0.0
VARIABLE = "EMBEDCACHE_MODEL_TIMEOUT"
#: Seconds that the exit of the process waits for a model that is being unloaded.
_LONGEST = 10.0

_log = logging.getLogger(__name__)


def read_timeout(text: str) -> float:
    """Seconds without use; `0` is at once, `-1` never.

    Raises `ValueError` for anything else.
    """
    seconds = float(text)
    if seconds != NEVER and not 0 <= seconds < float("inf"):
        raise ValueError(text)
    return seconds


def default_idle_timeout() -> float:
    """That of `EMBEDCACHE_MODEL_TIMEOUT`, else never."""
    text = os.environ.get(VARIABLE)
    if not text:
        return NEVER
    try:
        return read_timeout(text)
    except ValueError:
        remedy = "give a number of seconds, such as 600; 0 is at once, -1 never"
        raise SettingsError("model_timeout", text, VARIABLE, remedy) from None


class IdleUnloader:
    """Unloads a model when it has not been used for its handle's `idle_timeout`.

    Args:
        clock: Seconds, never going back.
        thread: Whether a thread of its own does so; else whoever calls `sweep`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, thread: bool = True) -> None:
        self._clock = clock
        self._threaded = thread
        self._changed = threading.Condition()
        #: When to look at a model, and how often it had been returned by then.
        self._due: weakref.WeakKeyDictionary[ModelHandle, tuple[float, int]] = (
            weakref.WeakKeyDictionary()
        )
        self._thread: threading.Thread | None = None
        self._next = float("inf")
        self._ended = False

    def used(self, handle: ModelHandle) -> None:
        """The use of a model has ended: its time begins anew."""
        timeout = handle.idle_timeout
        if timeout < 0 or handle.pinned:
            return
        if timeout == AT_ONCE:
            handle.unload()
        else:
            self._arm(handle, timeout)

    def sweep(self) -> float | None:
        """Unload what is due; seconds until there is something to do again, None for nothing."""
        now = self._clock()
        with self._changed:
            due = [(h, gets) for h, (when, gets) in self._due.items() if when <= now]
            for handle, _ in due:  # before it is looked at: its use may end meanwhile
                del self._due[handle]
        for handle, gets in due:
            if handle.pinned or not handle.is_loaded:
                continue
            if handle.counts.gets_so_far != gets:  # returned since, to somebody who has it bare
                self._arm(handle, handle.idle_timeout)
            elif handle.unload():
                _log.info(
                    "Unloaded model '%s': unused for %g s", handle.asked_as, handle.idle_timeout
                )
        with self._changed:
            self._next = min((when for when, _ in self._due.values()), default=float("inf"))
            return max(0.0, self._next - now) if self._due else None

    def end(self) -> None:
        """Nothing is unloaded any more; returns when the thread is gone."""
        with self._changed:
            self._ended = True
            self._due.clear()
            self._changed.notify()
        if (thread := self._thread) is not None:
            thread.join(_LONGEST)

    def renew(self) -> None:
        """In a forked child: the thread does not exist here; the next use starts one."""
        self._changed = threading.Condition()
        self._thread = None
        self._next = float("inf")

    def _arm(self, handle: ModelHandle, timeout: float) -> None:
        with self._changed:
            when = self._clock() + timeout
            self._due[handle] = (when, handle.counts.gets_so_far)
            if not self._threaded:
                return
            if self._thread is None and not self._ended:
                # At the exit first, so that no model is taken apart while the interpreter is.
                atexit.unregister(self.end)
                atexit.register(self.end)
                self._thread = threading.Thread(
                    target=self._run, name="embedcache-idle", daemon=True
                )
                self._thread.start()
            elif when < self._next:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            self.sweep()
            with self._changed:
                # Armed since, perhaps: what the sweep said may be out of date.
                self._next = min((when for when, _ in self._due.values()), default=float("inf"))
                if not self._due:
                    self._thread = None
                    return
                if (seconds := self._next - self._clock()) > 0:
                    self._changed.wait(seconds)


#: The process's one.
idle = IdleUnloader()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=idle.renew)
