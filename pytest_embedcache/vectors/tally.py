"""What was asked of a model's vectors, and where they came from."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

__all__ = ["Tallies", "Tally"]


class Tally:
    """Counts of one model in one process. Texts, not distinct ones; seconds of the wall clock.

    Attributes:
        asked: Texts in all calls.
        found: Texts whose vector was in a store, by the tier that had it.
        computed: Texts that went to the model.
        shared: Texts that were asked for twice in a call, or that another thread computed.
        bypassed: Texts of calls that no store can answer: token embeddings, images, `live` mode.
        untrusted: Texts computed past the store, since the model was handed out to be changed.
        encode_seconds: Spent in the model, for `computed` texts.
        billed: Of the `computed` texts, those for which a service said how many tokens it counted.
        tokens: That it counted for these.
    """

    def __init__(
        self,
        *,
        asked: int = 0,
        found: Mapping[str, int] | None = None,
        computed: int = 0,
        shared: int = 0,
        bypassed: int = 0,
        untrusted: int = 0,
        encode_seconds: float = 0.0,
        billed: int = 0,
        tokens: int = 0,
    ) -> None:
        self.asked = asked
        self.found = dict(found or {})
        self.computed = computed
        self.shared = shared
        self.bypassed = bypassed
        self.untrusted = untrusted
        self.encode_seconds = encode_seconds
        self.billed = billed
        self.tokens = tokens

    def as_dict(self) -> dict[str, Any]:
        """The same in built-in types."""
        return {**vars(self), "found": dict(self.found)}


class Tallies:
    """A tally for each model (by name), counted from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_model: dict[str, Tally] = {}
        self._pid = os.getpid()

    def add(
        self, model: str, *, found: Mapping[str, int] | None = None, **counts: int | float
    ) -> None:
        """Add to the counts of `model`."""
        with self._lock:
            tally = self._by_model.get(model)
            if tally is None:
                tally = self._by_model[model] = Tally()
            for tier, count in (found or {}).items():
                tally.found[tier] = tally.found.get(tier, 0) + count
            values = vars(tally)
            for name, amount in counts.items():
                values[name] += amount

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """All counts in built-in types."""
        with self._lock:
            return {model: tally.as_dict() for model, tally in self._by_model.items()}

    def reset(self) -> None:
        """Forget all counts."""
        with self._lock:
            self._by_model.clear()

    def before_fork(self) -> None:
        """Come to rest."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Go on; a child begins at nothing, or its parent's texts would be counted twice."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._by_model = {}
        self._lock.release()
