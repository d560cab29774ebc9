"""A circuit breaker: what has just failed is left alone for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pytest_embedcache.vectors import forking

__all__ = ["Breaker"]

#: Seconds that the first failure costs, and the longest pause after many.
_FIRST = 1.0
_LONGEST = 30.0


class Breaker:
    """Says whether to try; the pause doubles with every failure, and the first success ends it.

    After a pause one caller is let through to try; the others wait for what it finds, for as long
    again. So what is down costs one caller one time-out in a while, not every caller every time.

    Args:
        clock: Returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = 0.0
        self._until = 0.0
        self._trying = False
        forking.tell(self)

    @property
    def is_open(self) -> bool:
        """Whether the last try failed."""
        return self._pause > 0

    def allows(self) -> bool:
        """Whether to try now."""
        if not self._pause:
            return True
        with self._lock:
            now = self._clock()
            if now < self._until:
                return False
            self._until = now + self._pause
            self._trying = True
            return True

    def failed(self) -> None:
        """The try failed."""
        with self._lock:
            if self._pause and not self._trying:
                return  # of calls that failed together, the first has been counted
            self._pause = min(self._pause * 2 or _FIRST, _LONGEST)
            self._until = self._clock() + self._pause
            self._trying = False

    def succeeded(self) -> bool:
        """The try succeeded; True if the one before had failed."""
        if not self._pause:
            return False
        with self._lock:
            was_open = self._pause > 0
            self._pause = 0.0
            self._trying = False
        return was_open

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()
