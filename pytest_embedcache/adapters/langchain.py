"""LangChain's `Embeddings`."""

from __future__ import annotations

import os
from typing import Any

from pytest_embedcache.adapters import as_list, as_lists, as_model
from pytest_embedcache.errors import MissingExtraError
from pytest_embedcache.vectors.cached_model import CachedModel

try:
    from langchain_core.embeddings import Embeddings
except ImportError as error:
    raise MissingExtraError("the LangChain adapter", "langchain_core", "langchain") from error

__all__ = ["CachedEmbeddings"]


class CachedEmbeddings(Embeddings):
    """Embeddings whose vectors are computed once.

    Args:
        model: A name or a directory, with the options of `get_model`; or a `CachedModel`.

    Queries and documents are kept apart, as the model itself keeps them. A copy, a deep one too,
    is over the same model.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | CachedModel = "all-MiniLM-L6-v2",
        **options: Any,
    ) -> None:
        self.model = as_model(model, options)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One list of floats for each text, in their order."""
        return as_lists(self.model.encode_document(list(texts)))

    def embed_query(self, text: str) -> list[float]:
        """One list of floats."""
        return as_list(self.model.encode_query(text))

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` beside the event loop."""
        return as_lists(await self.model.aencode_document(list(texts)))

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` beside the event loop."""
        return as_list(await self.model.aencode_query(text))

    def __deepcopy__(self, memo: dict[int, Any]) -> CachedEmbeddings:
        return type(self)(self.model)
