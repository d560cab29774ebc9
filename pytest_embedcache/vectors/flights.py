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
    """Who computes what now, in this process.

    Attribute `landings`: how many flights brought a vector home. Whoever looked into the store and
    claims later can tell by it whether to look again.
    """

    def __init__(self) -> None:
        self.landings = 0
        self._lock = threading.Lock()
        self._flying: dict[Name, Flight] = {}
        self._pid = os.getpid()

    def claim(
        self, fingerprint: str, keys: Iterable[bytes], mine: list[bytes]
    ) -> tuple[dict[bytes, Flight], int]:
        """Claim those of `keys` that nobody computes now, and return the flights of the others.

        What is claimed is appended to `mine`, and has to be landed, whatever happens: the list is
        the caller's, so that it is not lost in an interrupt on the way back. The second result is
        `landings` at that moment.
        """
        others: dict[bytes, Flight] = {}
        with self._lock:
            for key in keys:
                flight = self._flying.get((fingerprint, key))
                if flight is None:
                    mine.append(key)
                    self._flying[fingerprint, key] = Flight()
                else:
                    others[key] = flight
            return others, self.landings

    def land(self, fingerprint: str, key: bytes, vector: np.ndarray | None) -> None:
        """Give the vector, stored already, to whoever waits; None lets each compute it himself."""
        with self._lock:
            flight = self._flying.pop((fingerprint, key), None)
            self.landings += vector is not None
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
