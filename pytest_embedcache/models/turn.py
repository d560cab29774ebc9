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

    Attribute `taken`: whether anybody ever had it, in this process or in one it was forked from.
    """

    def __init__(self) -> None:
        self.taken = False
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

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()
        self._depth += 1
        self.taken = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = None
        self._lock.release()


turn = Turn()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=turn.renew)
