"""Counts that many threads add to."""

from __future__ import annotations

import threading

from pytest_embedcache.vectors import forking

__all__ = ["Counts"]


class Counts:
    """Named counts, each from 0; safe for threads and across a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, int] = {}
        forking.tell(self)

    def add(self, **amounts: int) -> None:
        """Add to the counts of these names."""
        with self._lock:
            for name, amount in amounts.items():
                self._values[name] = self._values.get(name, 0) + amount

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._values.get(name, 0)

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()
