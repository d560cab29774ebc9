"""LangChain's own standard tests for embeddings, on a model without torch.

They bring plugins of their own, so they have an environment of their own: `run.py test adapters`.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.encoders import world

pytest.importorskip("langchain_core", reason="needs langchain-core")
pytest.importorskip("langchain_tests", reason="needs langchain-tests (environment `adapters`)")
pytest.importorskip("pytest_asyncio", reason="needs pytest-asyncio (environment `adapters`)")

from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from pytest_embedcache.adapters.langchain import CachedEmbeddings


class TestUnit(EmbeddingsUnitTests):
    """It can be made from its parameters."""

    @property
    def embeddings_class(self) -> type[CachedEmbeddings]:
        return CachedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": world(prompts={"query": "q: ", "document": "d: "}).model()}


class TestIntegration(EmbeddingsIntegrationTests):
    """Queries and documents, sync and async, have vectors of one length."""

    @property
    def embeddings_class(self) -> type[CachedEmbeddings]:
        return CachedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": world(prompts={"query": "q: ", "document": "d: "}).model()}
