"""From texts to their vectors: keys, the store, and the model for what is missing.

Straight down and straight back. A text's vector is computed once, by one thread, and stored under
the identity of the model that computed it, which is checked again under the model's own lock.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EncodeError, HostError, StoreError
from pytest_embedcache.models import defaults
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.vectors.calls import Call
from pytest_embedcache.vectors.source import Keyed, ModelSource

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.tiered import TieredStore

__all__ = ["SLICE", "Compute", "TextEncoder"]

#: Misses of one call are encoded in slices of this many texts, so that an interrupt loses one.
SLICE = 1024
#: Times that a call begins anew because the model changed under it, before it does without a store.
_ATTEMPTS = 4

#: (model, texts, whether a progress bar is shown already) -> vectors of shape (n, dimension)
Compute = Callable[[Any, list[str], bool], Any]
Vectors = dict[bytes, "np.ndarray"]


class _ChangedError(Exception):
    """The model is not, or no longer, the one that the keys were made for: begin again."""


class _UnstorableError(Exception):
    """The model's vectors are of a number format that float32 does not hold."""


class TextEncoder:
    """The vectors of one model, from a store or from the model.

    Args:
        source: The model.
        cache: Where vectors are kept and counted.
    """

    def __init__(self, source: ModelSource, cache: VectorCache) -> None:
        self._source = source
        self._cache = cache
        #: The model whose vectors turned out not to fit into the store; not kept alive by that.
        self._unstorable: weakref.ref[ModelHandle] | None = None

    @property
    def _store(self) -> TieredStore | None:
        return self._cache.store

    def matrix(
        self, texts: Sequence[str], call: Call, compute: Compute, *, progress: bool = False
    ) -> np.ndarray | None:
        """The vectors of `texts` as float32 of shape (n, dimension), row i for text i.

        The array is the caller's. `compute` is called with the model and those texts whose vectors
        are nowhere, once for all of them (in slices of `SLICE`), never by two threads at once.
        With `progress`, a bar is shown while several slices are computed.

        None where no store can answer, and the model is to be asked as if there were none.

        Raises:
            ValueError: The model does not have the prompt that the call names.
            EncodeError: The model returned another number of vectors than it got texts.
            Exception: Whatever loading or encoding raises.
        """
        counts: dict[str, Any] = {"asked": len(texts)}
        try:
            for _ in range(_ATTEMPTS if self._store is not None else 0):
                handle = self._source.loaded()
                if handle is not None and not self._source.trusts(handle):
                    break
                keyed = self._source.keyed(call)
                if keyed is None or (self._unstorable and self._unstorable() is handle is not None):
                    counts["bypassed"] = len(texts)
                    return None
                try:
                    return self._cached(texts, keyed, compute, progress, counts)
                except (_ChangedError, HostError):
                    continue  # what a host does not do is done here the next time
                except _UnstorableError:
                    counts["bypassed"] = len(texts)
                    return None
            counts["bypassed" if self._store is None else "untrusted"] = len(texts)
            return None
        finally:
            self.count(**counts)

    def count(self, **counts: Any) -> None:
        """Add to the counts of this model: the fields of a `Tally`."""
        self._cache.tallies.add(self._source.identity.name, **counts)

    def _cached(
        self,
        texts: Sequence[str],
        keyed: Keyed,
        compute: Compute,
        progress: bool,
        counts: dict[str, Any],
    ) -> np.ndarray | None:
        assert self._store is not None
        keys = keyed.maker.keys(texts)
        by_key = dict(zip(keys, texts, strict=True))
        since = self._cache.flights.landings
        found, tiers = self._store.get_with_tiers(keyed.identity.fingerprint, list(by_key))
        if len(found) < len(by_key):
            missing = {key: text for key, text in by_key.items() if key not in found}
            found = {**found, **self._compute(missing, keyed, compute, progress, since)}
        rows = [found[key] for key in keys]
        if len({row.size for row in rows}) > 1:
            # One of the stored vectors cannot be this model's. Which one, only the model knows.
            rows = self._anew(by_key, keys, keyed, compute, progress)
            if len({row.size for row in rows}) > 1:
                return None
            tiers = {}
        counts["found"] = tiers
        counts["shared"] = len(texts) - len(by_key)
        return _assembled(rows)

    def _anew(
        self,
        by_key: dict[bytes, str],
        keys: list[bytes],
        keyed: Keyed,
        compute: Compute,
        progress: bool,
    ) -> list[np.ndarray]:
        assert self._store is not None
        try:
            self._store.delete_many(keyed.identity.fingerprint, list(by_key))
        except StoreError:
            pass  # a tier still has them, and its vectors win: the caller looks at the sizes again
        since = self._cache.flights.landings
        found = self._compute(by_key, keyed, compute, progress, since)
        return [found[key] for key in keys]

    def _compute(
        self, missing: dict[bytes, str], keyed: Keyed, compute: Compute, progress: bool, since: int
    ) -> Vectors:
        """The vectors of `missing`: claimed and computed here, or awaited from other threads.

        `since` is the count of landings before they were looked for in the store.
        """
        self._cache.policy.missing(missing, keyed)
        handle = self._source.handle()
        here = self._cache.policy.here
        # To the end: not unloaded and loaded again between two slices.
        with handle.held(here=here) as nearest:
            if not self._source.holds(keyed, handle, nearest):
                raise _ChangedError
            flights = self._cache.flights
            fingerprint = keyed.identity.fingerprint
            done: Vectors = {}
            while left := [key for key in missing if key not in done]:
                mine: list[bytes] = []
                try:
                    others, landings = flights.claim(fingerprint, left, mine)
                    if landings != since:
                        # Somebody stored vectors after we looked: perhaps these.
                        self._land(fingerprint, mine, self._look_again(fingerprint, mine), done)
                        since = landings
                    claimed = [key for key in mine if key not in done]
                    for made in self._slices(
                        nearest, claimed, missing, handle, keyed, compute, progress
                    ):
                        self._land(fingerprint, list(made), made, done)
                finally:
                    # Those that failed, too: whoever waits for one computes it for himself. And
                    # those that have landed: an interrupt may have come before the last did.
                    for key in mine:
                        flights.land(fingerprint, key, done.get(key))
                for key, flight in others.items():
                    flight.landed.wait()
                    if flight.vector is not None:
                        done[key] = flight.vector
                        self.count(shared=1)
            return done

    def _look_again(self, fingerprint: str, keys: list[bytes]) -> Vectors:
        assert self._store is not None
        found = self._store.get_many(fingerprint, keys)
        self.count(shared=len(found))
        return found

    def _land(self, fingerprint: str, keys: list[bytes], made: Vectors, done: Vectors) -> None:
        done.update(made)
        for key in keys:
            if key in made:
                self._cache.flights.land(fingerprint, key, made[key])

    def _slices(
        self,
        model: Any,
        keys: list[bytes],
        texts: Mapping[bytes, str],
        handle: ModelHandle,
        keyed: Keyed,
        compute: Compute,
        progress: bool,
    ) -> Iterator[Vectors]:
        """Compute and store slice by slice."""
        from pytest_embedcache.models.progress import progress_bar  # a hit has no use for these
        from pytest_embedcache.vectors.billed import sliced

        size = self._cache.policy.together or SLICE
        if self._source.in_one_call:
            size = max(1, len(keys))
        else:
            # Longest first, over all slices: texts of one length share a batch.
            keys = sorted(keys, key=lambda key: -len(texts[key]))
        quiet = progress and len(keys) > SLICE
        with progress_bar(len(keys) if quiet else None) as advance:
            start = 0
            for listed in sliced(model, [texts[key] for key in keys], size):
                part = keys[start : start + len(listed)]
                start += len(part)
                yield self._slice(part, listed, handle, keyed, lambda m, t: compute(m, t, quiet))
                advance(len(part))

    def _slice(
        self,
        keys: list[bytes],
        texts: list[str],
        handle: ModelHandle,
        keyed: Keyed,
        compute: Callable[[Any, list[str]], Any],
    ) -> Vectors:
        import numpy as np

        assert self._store is not None
        fingerprint, name = keyed.identity.fingerprint, keyed.identity.name
        if not self._source.in_one_call:
            compute = self._cache.policy.computing(compute)
        with handle.using(here=self._cache.policy.here) as model:
            # Before and after: what is computed while the model is changed is nobody's vector.
            if not self._source.holds(keyed, handle, model):
                raise _ChangedError
            start = time.perf_counter()
            rows = _checked(compute(model, texts), len(texts), name)
            seconds = time.perf_counter() - start
            if not self._source.holds(keyed, handle, model):
                raise _ChangedError
        if rows.dtype not in (np.float32, np.float16):
            self._unstorable = weakref.ref(handle)
            raise _UnstorableError
        self.count(computed=len(texts), encode_seconds=seconds)
        if defaults.watch is not None:
            defaults.watch.computed(name, texts, seconds)
        made = {key: _frozen(row) for key, row in zip(keys, rows, strict=True)}
        # A broken model's NaN is the caller's to see, and nobody else's.
        sound = {key: row for key, row in made.items() if row.size and np.isfinite(row).all()}
        self._cache.policy.computed(dict(zip(keys, texts, strict=True)), keyed, model)
        # Whoever stored first has won: everybody hands out the stored bytes.
        won = self._store.put_many(fingerprint, sound)
        self._cache.label(fingerprint, name)
        return {**made, **won}


def _checked(rows: Any, count: int, model: str) -> np.ndarray:
    import numpy as np

    matrix = np.asarray(rows)
    if matrix.ndim != 2 or len(matrix) != count:
        raise EncodeError(model, count, matrix.shape)
    return matrix


def _frozen(row: np.ndarray) -> np.ndarray:
    """A copy of its own: a view would keep the whole batch alive, and could be written to."""
    row = row.astype("float32", copy=True)
    row.flags.writeable = False
    return row


def _assembled(rows: list[np.ndarray]) -> np.ndarray:
    import numpy as np

    return np.concatenate(rows).reshape(len(rows), rows[0].size)
