"""One attempt to load a model, with those who wait for it."""

from __future__ import annotations

import logging
import threading
import time

from pytest_embedcache.errors import LoadTimeoutError
from pytest_embedcache.models.turn import turn

__all__ = ["Flight", "seconds_left"]

_log = logging.getLogger(__name__)


def seconds_left(until: float | None) -> float | None:
    """Until a point in time of `time.monotonic`; None is for ever."""
    return None if until is None else max(0.0, until - time.monotonic())


class Flight:
    """Who loads, since when, and what it is doing; `background` is that nobody waits at first."""

    def __init__(self, *, background: bool = False) -> None:
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.current_thread().name
        #: What is being done, once the load has its turn.
        self.stage: str | None = None
        self._since = time.monotonic()
        self._said = not background

    @property
    def waited(self) -> float:
        """Seconds since it was boarded."""
        return time.monotonic() - self._since

    @property
    def doing(self) -> str:
        """What the loading thread is doing; for people."""
        if self.stage is not None:
            return f"thread {self.thread} is {self.stage}"
        other = turn.model
        return f"thread {self.thread} waits for its turn" + (
            f": model {other!r} is being loaded, and loads take turns" if other else ""
        )

    def wait(self, model: str, until: float | None) -> None:
        """Wait for the landing; the loading thread's error is raised here as well.

        Raises `LoadTimeoutError` where that is later than `until`.
        """
        begun = time.monotonic()
        if not self._said:  # who loads for himself has said so
            self._said = True
            _log.info("Model %s is loading (for %.1f s): waiting for it", model, self.waited)
        if not self.done.wait(seconds_left(until)):
            raise LoadTimeoutError(model, time.monotonic() - begun, self.doing)
        # That a loader's own time was over says nothing of those who have more.
        if isinstance(self.error, Exception) and not isinstance(self.error, LoadTimeoutError):
            raise self.error
