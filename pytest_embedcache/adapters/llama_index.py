"""LlamaIndex's `BaseEmbedding`."""

from __future__ import annotations

import os
from typing import Any, Self

from pytest_embedcache.adapters import as_list, as_lists, as_model
from pytest_embedcache.errors import MissingExtraError
from pytest_embedcache.vectors.cached_model import CachedModel

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
    from llama_index.core.bridge.pydantic import PrivateAttr
except ImportError as error:
    raise MissingExtraError("the LlamaIndex adapter", "llama_index", "llama-index") from error

__all__ = ["CachedEmbedding"]

_FIELDS = frozenset(BaseEmbedding.model_fields)


class CachedEmbedding(BaseEmbedding):
    """An embedding whose vectors are computed once.

    Args:
        model: A name or a directory, with the options of `get_model`; or a `CachedModel`.
        embed_batch_size: Texts that LlamaIndex hands over at once.

    The other fields of a `BaseEmbedding` can be given too, and `model_name` for `model`: what
    `to_dict` writes, `from_dict` reads. A text is embedded as a document, a query as a query, as
    the model itself keeps them. A copy, a deep one too, is over the same model.

    Raises, beside what `get_model` does, `ValueError` for an `embeddings_cache`: LlamaIndex's own
    would mix up queries and documents.
    """

    _model: CachedModel = PrivateAttr()

    def __init__(
        self,
        model: str | os.PathLike[str] | CachedModel = "all-MiniLM-L6-v2",
        *,
        embed_batch_size: int = 256,
        callback_manager: Any = None,
        model_name: str | None = None,
        **options: Any,
    ) -> None:
        theirs = {name: options.pop(name) for name in _FIELDS & options.keys()}
        if theirs.get("embeddings_cache") is not None:
            raise ValueError(
                "embeddings_cache has one key for a text as a query and as a document; leave it "
                "out, the vectors are cached already"
            )
        cached = as_model(model if model_name is None else model_name, options)
        super().__init__(
            model_name=cached.name,
            embed_batch_size=embed_batch_size,
            callback_manager=callback_manager,
            **theirs,
        )
        self._model = cached

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        copied: Self = super().__deepcopy__({id(self._model): self._model, **(memo or {})})
        return copied

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows the class."""
        return "CachedEmbedding"

    def _get_query_embedding(self, query: str) -> Embedding:
        return as_list(self._model.encode_query(query))

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return as_list(await self._model.aencode_query(query))

    def _get_text_embedding(self, text: str) -> Embedding:
        return as_list(self._model.encode_document(text))

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return as_list(await self._model.aencode_document(text))

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return as_lists(self._model.encode_document(list(texts)))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return as_lists(await self._model.aencode_document(list(texts)))
