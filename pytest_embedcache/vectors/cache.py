"""What all models of a process share: the store, who computes what now, and the counts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pytest_embedcache.errors import StoreError
from pytest_embedcache.vectors.flights import Flights
from pytest_embedcache.vectors.forking import tell
from pytest_embedcache.vectors.policy import Policy
from pytest_embedcache.vectors.tally import Tallies

if TYPE_CHECKING:
    from pytest_embedcache.vectors.tiered import TieredStore

__all__ = ["VectorCache"]


@runtime_checkable
class Labelled(Protocol):
    """A store that can note a name beside a fingerprint."""

    def label(self, fingerprint: str, label: str) -> None:
        """Note it."""


class VectorCache:
    """A store with what is counted about it; `store=None` keeps no vectors (mode `live`).

    `policy` is what recording and replaying do otherwise.
    """

    def __init__(self, store: TieredStore | None, policy: Policy | None = None) -> None:
        self.store = store
        self.policy = policy or Policy()
        self.flights = Flights()
        self.tallies = Tallies()
        #: Whether the process notes its counts at its end; a test run does so itself.
        self.in_history = True
        self._labelled: dict[str, str] = {}
        tell(self.flights)
        tell(self.tallies)

    def label(self, fingerprint: str, name: str) -> None:
        """Let the stores know, for people, which model a fingerprint is; once in a process."""
        if self._labelled.get(fingerprint) == name or self.store is None:
            return
        self._labelled[fingerprint] = name
        for store in self.store.stores:
            if isinstance(store, Labelled):
                with contextlib.suppress(StoreError):  # the vectors are what matters
                    store.label(fingerprint, name)

    def swap_store(self, store: TieredStore | None) -> TieredStore | None:
        """Go on with another store; returns the one until now, which stays open."""
        previous, self.store = self.store, store
        self._labelled = {}
        return previous

    def close(self) -> None:
        """Close the store."""
        if self.store is not None:
            self.store.close()
