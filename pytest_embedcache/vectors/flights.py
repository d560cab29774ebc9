"""A vector that several threads miss at once is computed by one of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Flight", "Flights"]

#: (fingerprint, key)
Name = tuple[str, bytes]


class Flight:
    """One vector on its way. `vector` stays None where its pilot failed or gave up."""

    __slots__ = ("landed", "vector")

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.vector: np.ndarray | None = None


class Flights:
    """Who computes what now, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[Name, Flight] = {}

    def claim(
        self, fingerprint: str, keys: Iterable[bytes]
    ) -> tuple[list[bytes], dict[bytes, Flight]]:
        """Split `keys` into those that the caller now has to compute, and those others compute.

        Each claimed key must be landed, whatever happens.
        """
        mine: list[bytes] = []
        others: dict[bytes, Flight] = {}
        with self._lock:
            for key in keys:
                flight = self._flying.get((fingerprint, key))
                if flight is None:
                    self._flying[fingerprint, key] = Flight()
                    mine.append(key)
                else:
                    others[key] = flight
        return mine, others

    def land(self, fingerprint: str, key: bytes, vector: np.ndarray | None) -> None:
        """Give the vector to whoever waits; None lets each of them compute it for himself."""
        with self._lock:
            flight = self._flying.pop((fingerprint, key), None)
        if flight is not None:
            flight.vector = vector
            flight.landed.set()

    def before_fork(self) -> None:
        """Come to rest."""
        self._lock.acquire()
        self._pid = os.getpid()

    def after_fork(self) -> None:
        """Go on; in the child the threads that were computing do not exist."""
        if os.getpid() != self._pid:
            self._flying = {}
        self._lock.release()
