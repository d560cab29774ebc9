"""`TieredStore`: several stores as one, the quickest first; one that fails is gone without."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pytest_embedcache import notices
from pytest_embedcache.errors import StorePausedError
from pytest_embedcache.vectors.breaker import Breaker
from pytest_embedcache.vectors.codec import FLOAT32, check_vectors
from pytest_embedcache.vectors.counts import Counts

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.vectors.store import StoreStats, VectorStore

__all__ = ["TierStats", "TieredStore"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class TierStats(NamedTuple):
    """What a tier did for the tiered store; asks the tier nothing.

    Attributes:
        name: The tier's.
        hits: Keys found here, which no tier above had.
        misses: Keys asked for here and not found.
        promoted: Vectors of a tier below that were put here.
        errors: Calls that failed.
        skipped: Calls that were not made, because one had failed shortly before.
        down: Whether the last call for reading, or the last for writing, failed.
    """

    name: str
    hits: int
    misses: int
    promoted: int
    errors: int
    skipped: int
    down: bool

    def as_dict(self) -> dict[str, Any]:
        """The same as plain builtins."""
        return self._asdict()


class TieredStore:
    """A `VectorStore` over others: reads ask them in order, writes go to all.

    What a lower tier had is promoted to those above, by `promote_many` where a tier has that. Where
    two tiers hold different vectors for a key, the lower one, which more processes share, is right,
    and those above are corrected when that is found out. A tier with a true `read_only` is not
    written to. One that raises, whatever it raises, is skipped, warned about once, counted, and
    tried again later; reads and writes apart, since a full disk can still be read.

    Args:
        stores: The tiers, from the quickest to the most shared.
        clock: Returns seconds that never go back.
    """

    name = "tiered"

    def __init__(
        self, stores: Sequence[VectorStore], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stores = tuple(stores)
        self._tiers = [_Tier(store, clock) for store in stores]
        self._counts = Counts()

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        return self.get_with_tiers(fingerprint, keys)[0]

    def get_with_tiers(
        self, fingerprint: str, keys: Sequence[bytes]
    ) -> tuple[dict[bytes, np.ndarray], dict[str, int]]:
        """As `get_many`, and beside it how many of them each tier had, by the tier's name."""
        found: dict[bytes, np.ndarray] = {}
        by_tier: dict[str, int] = {}
        missing = keys
        for depth, tier in enumerate(self._tiers):
            here = tier.get(fingerprint, missing)
            if here and depth:
                for upper in self._tiers[:depth]:
                    if not upper.read_only:
                        upper.promote(fingerprint, here)
            if here:
                by_tier[tier.store.name] = by_tier.get(tier.store.name, 0) + len(here)
                found = {**found, **here} if found else here
            if len(found) == len(keys):
                break
            missing = [key for key in keys if key not in found]
            if not missing:  # a key was given twice
                break
        self._counts.add(hits=len(found), misses=len(keys) - len(found))
        return found, by_tier

    def peek(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray] | None:
        """As `get_many`, if all of them are in memory; else None, and nothing was waited for."""
        tier = self._tiers[0]
        if tier.store.name != "memory":
            return None
        found = tier.store.get_many(fingerprint, keys)
        if len(found) < len(set(keys)):
            return None
        self._counts.add(hits=len(found))
        tier.found(len(found))
        return found

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        agreed = check_vectors(items)
        winners: dict[bytes, np.ndarray] = {}
        settled = False
        # From the lowest upwards: what the most shared tier holds is what all the others get.
        for tier in reversed(self._tiers):
            if tier.read_only:
                continue
            won = tier.put(fingerprint, agreed)
            if won is None:
                continue
            if won and settled:
                tier.replace(fingerprint, {key: agreed[key] for key in won})
            elif won:
                winners = won
                agreed = {**agreed, **won}
            settled = True
        return winners

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        """As the protocol says; a vector in several tiers counts once, and never less than that.

        Raises:
            StoreError: A tier failed, and may still hold them; the others have deleted them.
        """
        return self._from_all(lambda store: store.delete_many(fingerprint, keys))

    def clear(self, fingerprint: str | None = None) -> int:
        """As `delete_many`."""
        return self._from_all(lambda store: store.clear(fingerprint))

    def tier_stats(self) -> list[TierStats]:
        """What each tier did for this object, in their order."""
        return [tier.stats() for tier in self._tiers]

    def stats(self) -> StoreStats:
        """The sums of this object's counts; entries and bytes are those of the fullest tier.

        `details` has for each tier what it says of itself, or the error it gave.
        """
        from pytest_embedcache.vectors.store import StoreStats  # a hit has no use for it

        details: dict[str, Any] = {}
        entries = size = corrupt = evictions = 0
        for depth, store in enumerate(self.stores):
            name = store.name if store.name not in details else f"{store.name}-{depth}"
            try:
                stats = store.stats()
            except Exception as error:
                details[name] = {"error": str(error)}
                continue
            details[name] = stats.as_dict()
            entries, size = max(entries, stats.entries), max(size, stats.bytes)
            corrupt, evictions = corrupt + stats.corrupt, evictions + stats.evictions
        return StoreStats(
            entries=entries,
            bytes=size,
            hits=self._counts["hits"],
            misses=self._counts["misses"],
            corrupt=corrupt,
            errors=sum(tier.stats().errors for tier in self._tiers),
            evictions=evictions,
            details=details,
        )

    def close(self) -> None:
        """Close all tiers, also if one of them fails."""
        for tier in self._tiers:
            try:
                tier.store.close()
            except Exception as error:
                notices.degraded(f"the vector store {tier.store.name} did not close: {error}")

    def _from_all(self, remove: Callable[[VectorStore], int]) -> int:
        most = 0
        failure: Exception | None = None
        for store in self.stores:
            try:
                most = max(most, remove(store))
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return most


class _Tier:
    """A store that never raises: what it cannot do counts as nothing found, nothing stored."""

    def __init__(self, store: VectorStore, clock: Callable[[], float]) -> None:
        self.store = store
        self.read_only = getattr(store, "read_only", False)
        self._reads = Breaker(clock)
        self._writes = Breaker(clock)
        self._counts = Counts()
        self._said = ""

    def get(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found = self._try(self._reads, lambda: self._asked(fingerprint, keys))
        if found is None:
            return {}
        self._counts.add(hits=len(found), misses=len(keys) - len(found))
        return found

    def found(self, count: int) -> None:
        """So many were found here by somebody who asked the store itself."""
        self._counts.add(hits=count)

    def put(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray] | None:
        """As the store's `put_many`; None where it failed or was skipped."""
        return self._try(
            self._writes, lambda: check_vectors(self.store.put_many(fingerprint, items))
        )

    def promote(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> None:
        """Put here what a lower tier had."""
        put = getattr(self.store, "promote_many", self.store.put_many)
        won = self._try(self._writes, lambda: check_vectors(put(fingerprint, items)))
        if won is not None:
            self._counts.add(promoted=len(items))
        if won:
            self.replace(fingerprint, {key: items[key] for key in won})

    def replace(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> None:
        """Put here what a lower tier holds, over what is here."""

        def replace() -> None:
            self.store.delete_many(fingerprint, list(items))
            self.store.put_many(fingerprint, items)

        self._try(self._writes, replace)

    def stats(self) -> TierStats:
        return TierStats(
            name=self.store.name,
            hits=self._counts["hits"],
            misses=self._counts["misses"],
            promoted=self._counts["promoted"],
            errors=self._counts["errors"],
            skipped=self._counts["skipped"],
            down=self._reads.is_open or self._writes.is_open,
        )

    def _asked(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """What the store found, if that is what the protocol promises: anyone can write a store."""
        found = self.store.get_many(fingerprint, keys)
        for vector in found.values():
            if vector.dtype != FLOAT32 or vector.ndim != 1:
                raise TypeError(f"it returned a {vector.ndim}-D {vector.dtype} array for a vector")
        if not found.keys() <= set(keys):
            raise KeyError("it returned vectors of other keys")
        return found

    def _try(self, breaker: Breaker, call: Callable[[], _T]) -> _T | None:
        if not breaker.allows():
            self._counts.add(skipped=1)
            return None
        try:
            result = call()
        except StorePausedError:  # it has a breaker of its own
            self._counts.add(skipped=1)
            return None
        except Exception as error:  # a driver may raise anything, and the answer is still needed
            breaker.failed()
            self._counts.add(errors=1)
            self._say(str(error) or type(error).__name__)
            return None
        if breaker.succeeded():
            _log.info("The vector store %s works again", self.store.name)
        return result

    def _say(self, reason: str) -> None:
        # Once for a tier, whatever else goes wrong with it later; counted every time.
        self._said = self._said or (
            f"the vector store {self.store.name} failed and is gone without for a while: {reason}"
        )
        notices.degraded(self._said)
