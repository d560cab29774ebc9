"""`MemoryStore`: the vectors of one process.

Not cachetools: its caches have one bound, and we need two (entries and bytes) beside a lifetime;
and a hit there costs several calls of Python functions, which is several times what this one may.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_embedcache.vectors import forking
from pytest_embedcache.vectors.codec import HEADER_SIZE, check_vectors, same

if TYPE_CHECKING:
    from pytest_embedcache.vectors.store import StoreStats

__all__ = ["DEFAULT_MAX_BYTES", "DEFAULT_MAX_ENTRIES", "MemoryStore"]

DEFAULT_MAX_ENTRIES = 100_000
DEFAULT_MAX_BYTES = 256 * 2**20

_Name = tuple[str, bytes]


class MemoryStore:
    """A `VectorStore` in memory; the least recently used vectors leave first.

    Args:
        max_entries: Bound in vectors; `None` is none.
        max_bytes: Bound in bytes of the vectors, without Python's own for each (about 300);
            `None` is none. A vector that alone is larger is not kept.
        ttl: Seconds that a vector lives from when it was put; `None` is for ever.
        clock: Returns seconds that never go back.
    """

    name = "memory"

    def __init__(
        self,
        *,
        max_entries: int | None = DEFAULT_MAX_ENTRIES,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        ttl: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries = math.inf if max_entries is None else max_entries
        self._max_bytes = math.inf if max_bytes is None else max_bytes
        self._ttl = math.inf if ttl is None else ttl
        self._clock = clock
        self._lock = threading.Lock()
        #: (fingerprint, key) -> (vector, when it expires), the least recently used first.
        self._entries: OrderedDict[_Name, tuple[np.ndarray, float]] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._evictions = 0
        forking.tell(self)

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found = {}
        with self._lock:
            now = self._clock()
            entries = self._entries
            for key in keys:
                name = (fingerprint, key)
                entry = entries.get(name)
                if entry is None:
                    continue
                if entry[1] <= now:
                    self._remove(name)
                    continue
                entries.move_to_end(name)
                found[key] = entry[0]
            self._hits += len(found)
            self._misses += len(keys) - len(found)
        return found

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        return self.promote_many(fingerprint, check_vectors(items))

    def promote_many(
        self, fingerprint: str, vectors: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        """`put_many`, for what came out of another store, which looked at it when it was put there.

        To look at 10,000 again takes a tenth of the time of reading them from SQLite.
        """
        winners = {}
        with self._lock:
            now = self._clock()
            expires = now + self._ttl
            entries = self._entries
            for key, vector in vectors.items():
                name = (fingerprint, key)
                entry = entries.get(name)
                if entry is not None:
                    if entry[1] > now:
                        entries.move_to_end(name)
                        if not same(entry[0], vector):
                            winners[key] = entry[0]
                        continue
                    self._remove(name)
                size = vector.nbytes
                if size > self._max_bytes:
                    continue  # it would only push out all the others
                entries[name] = (_own(vector), expires)
                self._bytes += size
            self._shrink()
        return winners

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        with self._lock:
            names = {(fingerprint, key) for key in keys} & self._entries.keys()
            for name in names:
                self._remove(name)
        return len(names)

    def clear(self, fingerprint: str | None = None) -> int:
        with self._lock:
            names = [n for n in self._entries if fingerprint is None or n[0] == fingerprint]
            for name in names:
                self._remove(name)
        return len(names)

    def stats(self) -> StoreStats:
        from pytest_embedcache.vectors.store import StoreStats  # a hit has no use for it

        with self._lock:
            return StoreStats(
                entries=len(self._entries),
                bytes=self._bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    def close(self) -> None:
        """Forget everything."""
        self.clear()

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()

    def _remove(self, name: _Name) -> None:
        vector, _ = self._entries.pop(name)
        self._bytes -= vector.nbytes

    def _shrink(self) -> None:
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self._evictions += 1


def _own(vector: np.ndarray) -> np.ndarray:
    """The vector on bytes of its own: a view would keep a whole batch alive, and could be changed.

    What was read from a lower tier lies on such bytes already, behind a short header.
    """
    base: object = vector.base
    if isinstance(base, bytes) and len(base) <= vector.nbytes + HEADER_SIZE:
        return vector
    return np.frombuffer(vector.tobytes(), np.float32)
