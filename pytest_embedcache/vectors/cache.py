"""What all models of a process share: the store, who computes what now, and the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_embedcache.vectors.flights import Flights
from pytest_embedcache.vectors.forking import tell
from pytest_embedcache.vectors.tally import Tallies

if TYPE_CHECKING:
    from pytest_embedcache.vectors.tiered import TieredStore

__all__ = ["VectorCache"]


class VectorCache:
    """A store with what is counted about it; `store=None` keeps no vectors (mode `live`)."""

    def __init__(self, store: TieredStore | None) -> None:
        self.store = store
        self.flights = Flights()
        self.tallies = Tallies()
        tell(self.flights)
        tell(self.tallies)

    def close(self) -> None:
        """Close the store."""
        if self.store is not None:
            self.store.close()
