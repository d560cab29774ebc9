"""Loads take turns: building two transformers models at once is not safe.

It changes process-global state (the default dtype, the device that new tensors go to), so there is
one turn in a process, for all registries.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["Turn", "turn"]


class Turn:
    """A lock that knows its holder, and lets it in again: remote code may load a model of its own.

    Attributes:
        taken: Whether anybody ever had it, in this process or in one it was forked from.
        model: Whose turn it is; for people who wait.
    """

    def __init__(self) -> None:
        self.taken = False
        self.model: str | None = None
        self._lock = threading.RLock()
        self._holder: int | None = None
        self._depth = 0

    def renew(self) -> None:
        """In a forked child: a holder other than the forking thread does not exist here."""
        if not self.is_mine:
            self._lock = threading.RLock()
            self._holder = None
            self._depth = 0

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is loading a model."""
        return self._holder == threading.get_ident()

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait `timeout` seconds at most, or as long as it takes; False where it is not free."""
        if not self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            return False
        self._holder = threading.get_ident()
        self._depth += 1
        self.taken = True
        return True

    def release(self) -> None:
        """Leave it to the next."""
        self._depth -= 1
        if not self._depth:
            self._holder = None
            self.model = None
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


turn = Turn()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=turn.renew)
