"""The vectors of a model for a service: what was stored and what was computed, told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EncodeError
from pytest_embedcache.vectors.billed import encoded
from pytest_embedcache.vectors.calls import Call

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.models.handle import ModelHandle
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["TextsApart", "Tokens"]

Vectors = dict[str, "np.ndarray"]
#: Text -> what the provider counted, None where it did not say.
Tokens = dict[str, int | None]


class TextsApart:
    """The vectors of one model in one role.

    Args:
        model: The model.
        role: `query`, `document` or None.
        dimension: What its vectors have to have; None where that is the model's to say.
    """

    def __init__(
        self, model: CachedModel, role: str | None, *, dimension: int | None = None
    ) -> None:
        self._dimension = dimension
        self._model = model
        self._source = model._source
        self._encoder = model._encoder
        self._cache = model._cache
        self._role = role

    def at_hand(self, texts: Sequence[str]) -> Vectors | None:
        """The vectors of `texts`, if all of them are in memory: nothing is waited for."""
        return self._look(texts, at_hand=True)

    def stored(self, texts: Sequence[str]) -> Vectors:
        """The vectors that a store has; nothing is loaded, nothing computed."""
        return self._look(texts, at_hand=False) or {}

    def computed(
        self, texts: Sequence[str], sent: Tokens, *, size: int, use_store: bool = True
    ) -> np.ndarray:
        """The vectors of `texts`, each of them once: computed where no store has it by now.

        float32 of shape (n, dimension), row i for text i; the caller's own. `sent` gets those texts
        that went to the model, also where this raises: the others were in a store by then. `size`
        texts go through the model, or into a request, at once. Without `use_store` all of them are
        computed, and nothing is stored.

        Raises as `CachedModel.encode` does.
        """
        call = self._call()

        def compute(model: Any, missing: list[str], quiet: bool = True) -> Any:
            arguments = self._model._inner(model, call, {"show_progress_bar": False})
            arguments |= {"request_size": size} if hasattr(model, "encode_billed") else {}
            rows = encoded(
                model, missing, self._encoder.count, told=sent, batch_size=size, **arguments
            )
            if self._dimension not in (None, rows.shape[-1]):  # before anything is stored
                raise EncodeError(self._model.name, len(missing), rows.shape)
            return rows

        matrix = self._encoder.matrix(texts, call, compute) if use_store else None
        if matrix is None:
            if not use_store:
                self._encoder.count(asked=len(texts), bypassed=len(texts))
            with self._source.handle("encode()").using() as model:
                matrix = compute(model, list(texts))
            if len(matrix) != len(texts):
                raise EncodeError(self._model.name, len(texts), matrix.shape)
            matrix = matrix.astype("float32", copy=False)
        return matrix

    def handle(self) -> ModelHandle | None:
        """That of the model, if it is loaded."""
        return self._source.loaded()

    def _call(self) -> Call:
        """As `encode_query` or `encode_document` make it, by the prompts of the model as it is."""
        if self._role is None:
            return Call()
        name, prompt = self._model._in_role(self._role, None, None)
        return Call(name, prompt, self._role)

    def _look(self, texts: Sequence[str], *, at_hand: bool) -> Vectors | None:
        store = self._cache.store
        handle = self._source.loaded()
        if store is None or (handle is not None and not self._source.trusts(handle)):
            return None
        keyed = self._source.keyed(self._call())
        if keyed is None:
            return None
        keys = keyed.maker.keys(texts)
        fingerprint = keyed.identity.fingerprint
        tiers: dict[str, int]
        if at_hand:
            found = store.peek(fingerprint, keys)
            if found is None:
                return None
            tiers = {store.stores[0].name: len(found)}
        else:
            found, tiers = store.get_with_tiers(fingerprint, keys)
        if len({row.size for row in found.values()}) > 1:
            return None  # one of them is not this model's: the encoder finds out which
        self._encoder.count(asked=len(found), found=tiers)
        return {text: found[key] for text, key in zip(texts, keys, strict=True) if key in found}
