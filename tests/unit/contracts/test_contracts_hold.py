"""The project's own implementations keep the contracts, and so do the fakes; without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.models.backends import Backend
from pytest_embedcache.testing.contracts import (
    BackendContract,
    Contract,
    EmbeddingModelContract,
    ModelRegistryContract,
    needs,
)
from pytest_embedcache.testing.fake_backend import FakeBackend, FakePolicy
from pytest_embedcache.testing.fakes import (
    FakeEmbeddingModel,
    FakeEmbeddingModels,
    FakeSentenceTransformer,
    FakeSentenceTransformers,
)
from pytest_embedcache.testing.faults import Faults
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.sqlite import SqliteStore
from pytest_embedcache.vectors.tiered import TieredStore

OF_A_FAKE = {
    "load_count": "there is nothing to load",
    "short_answers": "it gives what the test asked it for",
}


class TestFakeEmbeddingModel(EmbeddingModelContract):
    lacks = OF_A_FAKE

    @pytest.fixture(params=["lexical", "hash"])
    def model(self, request: pytest.FixtureRequest) -> FakeEmbeddingModel:
        return FakeEmbeddingModel(kind=request.param)

    @pytest.fixture
    def faults(self, model: FakeEmbeddingModel) -> Faults:
        return model.faults


class TestFakeSentenceTransformer(EmbeddingModelContract):
    lacks = {**OF_A_FAKE, "roles": "most real models treat queries and documents alike"}

    @pytest.fixture
    def model(self) -> FakeSentenceTransformer:
        kind = type("SentenceTransformer", (FakeSentenceTransformer,), {})
        kind.fakes = FakeSentenceTransformers()
        return kind("all-MiniLM-L6-v2")

    @pytest.fixture
    def faults(self, model: FakeSentenceTransformer) -> Faults:
        return model.faults


@pytest.fixture
def fakes() -> FakeEmbeddingModels:
    return FakeEmbeddingModels()


@pytest.fixture
def of_fakes(fakes: FakeEmbeddingModels) -> ModelRegistry:
    backend: Backend = FakeBackend(fakes, fakes)
    return ModelRegistry(backends={"torch": backend, "fake": backend})


@pytest.fixture
def cached(of_fakes: ModelRegistry, tmp_path: Path) -> Iterator[CachedModel]:
    """A `CachedModel` over a fake, with the tiers of a machine."""
    cache = VectorCache(TieredStore([MemoryStore(), SqliteStore(tmp_path)]), FakePolicy())
    yield CachedModel(of_fakes, ModelSpec("m", device="cpu"), cache)
    cache.close()


class _OverFakes(EmbeddingModelContract):
    @pytest.fixture
    def faults(self, fakes: FakeEmbeddingModels) -> Faults:
        return fakes.faults

    @pytest.fixture
    def load_count(self, fakes: FakeEmbeddingModels) -> Callable[[], int]:
        return fakes.load_count


class TestCachedModel(_OverFakes):
    @pytest.fixture
    def model(self, cached: CachedModel) -> CachedModel:
        return cached


class TestCachedModelWithoutAStore(_OverFakes):
    lacks = {"short_answers": "without a store, what the model returns is handed on as it is"}

    @pytest.fixture
    def model(self, of_fakes: ModelRegistry) -> CachedModel:
        return CachedModel(of_fakes, ModelSpec("m", device="cpu"), VectorCache(None, FakePolicy()))


class AsModel:
    """An adapter, asked as a model is."""

    def __init__(self, adapter: Any) -> None:
        of_langchain = hasattr(adapter, "embed_query")
        self.query = adapter.embed_query if of_langchain else adapter.get_query_embedding
        self.texts = adapter.embed_documents if of_langchain else adapter.get_text_embedding_batch
        self.atexts = (
            adapter.aembed_documents if of_langchain else adapter.aget_text_embedding_batch
        )

    def encode(self, inputs: Any) -> Any:
        return self.texts([inputs])[0] if isinstance(inputs, str) else self.texts(inputs)

    encode_document = encode

    def encode_query(self, inputs: Any) -> Any:
        return self.query(inputs) if isinstance(inputs, str) else [self.query(i) for i in inputs]

    async def aencode(self, inputs: Any) -> Any:
        return await self.atexts(inputs)


class _Adapter(_OverFakes):
    lacks = {
        "arrays": "these libraries want lists of floats",
        "sequences": "and give lists of texts",
        **dict.fromkeys(("dimension", "batch_size", "options"), "they do not ask for it"),
    }


class TestLangChainAdapter(_Adapter):
    @pytest.fixture
    def model(self, cached: CachedModel) -> AsModel:
        pytest.importorskip("langchain_core", reason="needs langchain-core")
        from pytest_embedcache.adapters.langchain import CachedEmbeddings

        return AsModel(CachedEmbeddings(cached))


class TestLlamaIndexAdapter(_Adapter):
    @pytest.fixture
    def model(self, cached: CachedModel) -> AsModel:
        pytest.importorskip("llama_index.core", reason="needs llama-index-core")
        from pytest_embedcache.adapters.llama_index import CachedEmbedding

        return AsModel(CachedEmbedding(cached))


class TestModelRegistry(ModelRegistryContract):
    @pytest.fixture
    def registry(self, of_fakes: ModelRegistry) -> ModelRegistry:
        return of_fakes

    @pytest.fixture
    def load_count(self, fakes: FakeEmbeddingModels) -> Callable[[], int]:
        return fakes.load_count

    @pytest.fixture
    def loading(self, fakes: FakeEmbeddingModels) -> Faults:
        return fakes.loading


class TestFakeBackend(BackendContract):
    lacks = {
        "missing_models": "every name is a model",
        "load_errors": "a load fails where the test asks for it",
    }

    @pytest.fixture
    def backend(self, fakes: FakeEmbeddingModels) -> FakeBackend:
        return FakeBackend(fakes, fakes)


def test_a_capability_that_is_lacking_is_a_skip_with_its_reason(pytester: pytest.Pytester) -> None:
    """Which a reader of the report sees."""
    pytester.makepyfile(
        """
        from pytest_embedcache.testing.contracts import Contract, needs

        class TestIt(Contract):
            lacks = {"wings": "it walks"}

            @needs("wings")
            def test_it_flies(self):
                raise AssertionError

            def test_it_walks(self):
                pass
        """
    )
    run = pytester.inline_run("-rs", "-p", "no:cacheprovider")
    passed, skipped, failed = run.listoutcomes()
    assert (len(passed), len(failed)) == (1, 0)
    assert "lacks wings: it walks" in skipped[0].longreprtext


def test_a_capability_that_nobody_asks_for_is_an_error() -> None:
    """A misspelt one would skip nothing."""

    class Flying(Contract):
        @needs("wings")
        def test_it_flies(self) -> None:
            """It does."""

    with pytest.raises(TypeError, match="no capability wigns; it knows wings"):
        type("TestIt", (Flying,), {"lacks": {"wigns": "it walks"}})


def test_a_fixture_that_is_missing_says_so(pytester: pytest.Pytester) -> None:
    """By its name, for each contract."""
    for name in ("EmbeddingModel", "VectorStore", "ModelRegistry", "Backend"):
        pytester.makepyfile(
            f"""
            from pytest_embedcache.testing.contracts import {name}Contract as Contract

            class TestIt(Contract):
                pass
            """
        )
        run = pytester.inline_run("--tb=line", "-x", "-p", "no:cacheprovider")
        reports = [one for one in run.getreports("pytest_runtest_logreport") if one.failed]
        assert "a subclass gives the fixture" in reports[0].longreprtext


def test_a_tolerance_is_of_the_largest_component() -> None:
    """So that it holds for vectors of any length."""
    contract = EmbeddingModelContract()
    one = np.array([[100.0, 1.0]])
    assert contract.agree(one + 0.0009, one)
    assert not contract.agree(one + 0.0011, one)
    assert not contract.agree(one[0], one)
    assert not contract.agree(one * np.nan, one)
