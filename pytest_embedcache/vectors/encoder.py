"""From texts to their vectors: keys, the store, and the model for what is missing.

Straight down and straight back. A text's vector is computed once, by one thread, and stored under
the identity of the model that computed it, which is checked again under the model's own lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_embedcache import notices
from pytest_embedcache.errors import EncodeError, KeyFieldError
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.registry import ModelRegistry
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.calls import Call
from pytest_embedcache.vectors.keys import KeyFields, KeyMaker

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["SLICE", "Compute", "TextEncoder"]

#: Misses of one call are encoded in slices of this many texts, so that an interrupt loses one.
SLICE = 1024

#: (model, texts) -> vectors of shape (n, dimension)
Compute = Callable[[Any, list[str]], Any]
State = tuple[tuple[str, str], ...]


class _ChangedError(Exception):
    """The model is not, or no longer, the one that the keys were made for: begin again."""


class TextEncoder:
    """The vectors of one model, from a store or from the model.

    Args:
        registry: Loads the model for what is missing.
        spec: Which model.
        cache: Where vectors are kept and counted; without a store every one is computed.

    Raises, already here, what `ModelRegistry.identify` raises: a wrong name fails at once.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        spec: ModelSpec,
        cache: VectorCache,
    ) -> None:
        self.registry = registry
        self.spec = spec
        self.store = cache.store
        self.tallies = cache.tallies
        self._flights = cache.flights
        self._label = cache.label
        self.identity: Identity = registry.identify(spec)
        self._asked_as = spec.name
        self._learnt: ModelHandle | None = None
        self._makers: dict[tuple[Any, ...], KeyMaker] = {}
        if self.identity.signature is not None and spec.device is not None:
            # So that a model which was loaded under another spelling is seen to be this one. Not
            # where the device is left open: to know it can take an import of torch.
            self.spec = registry.resolve(spec)

    def loaded(self) -> ModelHandle | None:
        """The handle, if the model is loaded; loads nothing and resolves nothing."""
        return self.registry.loaded(self.spec)

    def load(self) -> ModelHandle:
        """The handle with its model loaded."""
        handle = self.registry.handle(self.spec, asked_as=self._asked_as)
        handle.get()
        return handle

    def matrix(self, texts: Sequence[str], call: Call, compute: Compute) -> np.ndarray:
        """The vectors of `texts` as float32 of shape (n, dimension), row i for text i.

        The array is the caller's. `compute` is called with the model and those texts whose vectors
        are nowhere, once for all of them (in slices of `SLICE`), never by two threads at once.

        Raises:
            EncodeError: The model returned another number of vectors than it got texts.
            Exception: Whatever loading or encoding raises.
        """
        self.tallies.add(self.identity.name, asked=len(texts))
        if self.store is None:
            self.tallies.add(self.identity.name, bypassed=len(texts))
            return self._straight(texts, compute)
        for _ in range(4):
            handle = self.loaded()
            if handle is not None and not self._trusted(handle):
                break
            maker = self.maker(call)
            if maker is None:
                self.tallies.add(self.identity.name, bypassed=len(texts))
                return self._straight(texts, compute)
            try:
                return self._cached(texts, maker, call, compute)
            except _ChangedError:
                continue
        self.tallies.add(self.identity.name, untrusted=len(texts))
        return self._straight(texts, compute)

    def maker(self, call: Call) -> KeyMaker | None:
        """Makes the keys of this call's texts as things are now; None where there can be none."""
        handle = self.loaded()
        try:
            return self._maker(call, handle.state() if handle is not None else ())
        except KeyFieldError:
            return None

    def _maker(self, call: Call, state: State) -> KeyMaker | None:
        identity = self.identity
        options = call.key_options(identity.metadata)
        if options is None or identity.dtype == "float64":  # stored as float32 it would lose bits
            return None
        role: str | None
        prompt: str | None
        if state:  # the prompts are part of it; what the call says of them is taken literally
            role, prompt = call.task, f"{call.prompt_name!r} {call.prompt!r}"
        else:
            role, prompt = call.role_and_prompt(identity.metadata)
        simple = "processing_kwargs" not in options
        cache_key = (identity.fingerprint, role, prompt, tuple(options.items()), state)
        if simple and (known := self._makers.get(cache_key)) is not None:
            return known
        fields = KeyFields(identity.fingerprint, role, prompt, options, dict(state))
        maker = KeyMaker(fields)
        if simple and len(self._makers) < 256:
            self._makers[cache_key] = maker
        return maker

    def _trusted(self, handle: ModelHandle) -> bool:
        """Whether the loaded model is the one of `identity`; learns the identity if need be."""
        if handle.handed_out or handle.signature is None:
            self._say_untrusted(handle)
            return False
        if handle.signature == self.identity.signature:
            self._learn(handle)
            return True
        self.identity = self.registry.identify(handle.spec)
        if handle.signature == self.identity.signature:
            return True
        self._say_untrusted(handle)
        return False

    def _learn(self, handle: ModelHandle) -> None:
        """Take the prompts from the loaded model, should the files have told another story."""
        if self._learnt is handle or handle.state():
            return
        self._learnt = handle
        metadata = self.identity.metadata
        prompts = {k: v for k, v in getattr(handle.model, "prompts", {}).items() if v}
        default = getattr(handle.model, "default_prompt_name", None)
        cut = getattr(handle.model, "truncate_dim", None)
        known = {k: v for k, v in metadata.prompts.items() if v}
        if (prompts, default, cut) != (known, metadata.default_prompt_name, metadata.truncate_dim):
            metadata = replace(
                metadata, prompts=prompts, default_prompt_name=default, truncate_dim=cut
            )
            self.identity = replace(self.identity, metadata=metadata)
            self._makers.clear()

    def _say_untrusted(self, handle: ModelHandle) -> None:
        reason = (
            "it was handed out to be changed"
            if handle.handed_out
            else "its files changed while, or after, it was loaded"
        )
        notices.degraded(
            f"vectors of {self.identity.name} are neither read from the store nor written: {reason}"
        )

    def _straight(self, texts: Sequence[str], compute: Compute) -> np.ndarray:
        handle = self.load()
        with handle.encoding:
            return _checked(compute(handle.model, list(texts)), len(texts), self.identity.name)

    def _cached(
        self, texts: Sequence[str], maker: KeyMaker, call: Call, compute: Compute
    ) -> np.ndarray:
        assert self.store is not None
        fingerprint = maker.fields.fingerprint
        keys = maker.keys(texts)
        by_key = dict(zip(keys, texts, strict=True))
        found, tiers = self.store.get_with_tiers(fingerprint, list(by_key))
        if len(found) < len(by_key):
            missing = {key: text for key, text in by_key.items() if key not in found}
            computed = self._compute(missing, maker, compute)
            found = {**found, **computed}
        self.tallies.add(self.identity.name, found=tiers, shared=len(texts) - len(by_key))
        return _assembled([found[key] for key in keys], self.identity.name)

    def _compute(
        self, missing: dict[bytes, str], maker: KeyMaker, compute: Compute
    ) -> dict[bytes, np.ndarray]:
        """The vectors of `missing`: claimed and computed here, or awaited from other threads."""
        handle = self.load()
        self._check(handle, maker)
        done: dict[bytes, np.ndarray] = {}
        while left := [key for key in missing if key not in done]:
            mine, others = self._flights.claim(maker.fields.fingerprint, left)
            try:
                # Longest first, over all slices: texts of one length share a batch.
                mine.sort(key=lambda key: -len(missing[key]))
                for start in range(0, len(mine), SLICE):
                    part = mine[start : start + SLICE]
                    texts = [missing[key] for key in part]
                    done.update(self._compute_slice(handle, maker, part, texts, compute))
            finally:
                for key in mine:  # those that failed, too: whoever waits computes for himself
                    self._flights.land(maker.fields.fingerprint, key, done.get(key))
            for key, flight in others.items():
                flight.landed.wait()
                if flight.vector is not None:
                    done[key] = flight.vector
                    self.tallies.add(self.identity.name, shared=1)
        return done

    def _compute_slice(
        self,
        handle: ModelHandle,
        maker: KeyMaker,
        keys: list[bytes],
        texts: list[str],
        compute: Compute,
    ) -> dict[bytes, np.ndarray]:
        import numpy as np

        assert self.store is not None
        with handle.encoding:
            self._check(handle, maker)
            start = time.perf_counter()
            rows = _checked(compute(handle.model, texts), len(texts), self.identity.name)
            seconds = time.perf_counter() - start
            self._check(handle, maker)
        self.tallies.add(self.identity.name, computed=len(texts), encode_seconds=seconds)
        made = {key: _frozen(row) for key, row in zip(keys, rows, strict=True)}
        # A broken model's NaN is the caller's to see, and nobody else's.
        sound = {key: row for key, row in made.items() if np.isfinite(row).all()}
        # Whoever stored first has won: everybody hands out the stored bytes.
        won = self.store.put_many(maker.fields.fingerprint, sound)
        self._label(maker.fields.fingerprint, self.identity.name)
        return {**made, **won}

    def _check(self, handle: ModelHandle, maker: KeyMaker) -> None:
        """Raise `_ChangedError` unless the keys are those of the model as it is now."""
        before = self.identity
        if (
            not self._trusted(handle)
            or self.identity is not before
            or self.identity.fingerprint != maker.fields.fingerprint
            or dict(handle.state()) != maker.fields.state
        ):
            raise _ChangedError


def _checked(rows: Any, count: int, model: str) -> np.ndarray:
    import numpy as np

    matrix = np.asarray(rows)
    if matrix.ndim != 2 or len(matrix) != count:
        raise EncodeError(model, count, matrix.shape)
    return matrix if matrix.dtype == np.float64 else matrix.astype(np.float32, copy=False)


def _frozen(row: np.ndarray) -> np.ndarray:
    """A copy of its own: a view would keep the whole batch alive, and could be written to."""
    row = row.astype("float32", copy=True)
    row.flags.writeable = False
    return row


def _assembled(rows: list[np.ndarray], model: str) -> np.ndarray:
    import numpy as np

    if len({row.size for row in rows}) != 1:
        raise EncodeError(model, len(rows), tuple(sorted({row.size for row in rows})))
    return np.concatenate(rows).reshape(len(rows), -1)
