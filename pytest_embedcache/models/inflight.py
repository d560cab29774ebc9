"""Who is using a model at this moment: it is not unloaded under them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

__all__ = ["InFlight", "one_by_one"]


def one_by_one(backend: object) -> AbstractContextManager[Any]:
    """Held around a call of a model; by nobody where the backend's models take several at once."""
    return nullcontext() if getattr(backend, "is_concurrent", False) else threading.RLock()


class InFlight:
    """A room that threads enter and leave, and that can be had empty.

    Who is inside may enter again: a use is made of several.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting = 0
        self._mine = threading.local()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, the room is not empty. Waits while somebody waits for it to be."""
        depth = getattr(self._mine, "depth", 0)
        with self._changed:
            while self._waiting and not depth:
                self._changed.wait()
            self._inside += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def empty(self, timeout: float = 0.0) -> Iterator[bool]:
        """True where nobody is inside, and nobody enters until the end of the block.

        Waits for those who are inside `timeout` seconds at most, and lets nobody else in meanwhile.
        """
        until = time.monotonic() + timeout
        with self._changed:
            self._waiting += 1
            try:
                # Who is inside himself would wait in vain.
                patient = not getattr(self._mine, "depth", 0)
                while self._inside and patient and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                yield not self._inside
            finally:
                self._waiting -= 1
                self._changed.notify_all()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is inside just now."""
        return not self._inside
