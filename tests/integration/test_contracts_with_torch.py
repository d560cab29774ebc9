"""Real models keep the contracts: a plain `SentenceTransformer`, ours over it, and the backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.models import tiny_bert

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.installed import installed_version
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends.onnx import OnnxBackend
from pytest_embedcache.models.backends.torch import TorchBackend
from pytest_embedcache.testing.contracts import (
    BackendContract,
    EmbeddingModelContract,
    ModelRegistryContract,
)
from pytest_embedcache.vectors.api import StoreSettings, open_cache
from pytest_embedcache.vectors.cached_model import CachedModel

pytest.importorskip("sentence_transformers")
VERSION = installed_version("sentence-transformers") or "0"
pytestmark = pytest.mark.skipif(
    int(VERSION.partition(".")[0]) < 5, reason="roles are there from sentence-transformers 5 on"
)

OF_BERT = {
    "exact_texts": "its tokenizer lowers, strips and normalises",
    "roles": "it has no prompts",
    "faults": "it has no services behind it",
    "short_answers": "it has no services behind it",
}
PLAIN = {**OF_BERT, "async": "it has no aencode", "load_count": "who constructs it counts"}


def plain(path: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(path), device="cpu")


@pytest.fixture(scope="module")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tiny models."""
    folder = tmp_path_factory.mktemp("tinies")
    return [tiny_bert(folder / f"tiny-{seed}", seed=seed) for seed in range(2)]


@pytest.fixture(scope="module")
def tiny_model(tinies: list[Path]) -> Any:
    return plain(tinies[0])


@pytest.fixture(scope="module")
def minilm_model(minilm: Path) -> Any:
    return plain(minilm)


@pytest.fixture(scope="module")
def one_registry() -> ModelRegistry:
    """Loads the real model once, for all checks."""
    return ModelRegistry()


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """Each model is exported once, for all checks."""
    return ArtifactStore(tmp_path_factory.mktemp("exports"))


class TestPlainTinyModel(EmbeddingModelContract):
    lacks = PLAIN

    @pytest.fixture
    def model(self, tiny_model: Any) -> Any:
        return tiny_model


@pytest.mark.stress
class TestPlainMiniLM(EmbeddingModelContract):
    """What the tiny one is as well, slower."""

    lacks = PLAIN

    @pytest.fixture
    def model(self, minilm_model: Any) -> Any:
        return minilm_model


class TestCachedMiniLM(EmbeddingModelContract):
    lacks = OF_BERT

    @pytest.fixture
    def model(
        self, one_registry: ModelRegistry, minilm: Path, tmp_path: Path
    ) -> Iterator[CachedModel]:
        cache = open_cache(StoreSettings(directory=str(tmp_path)))
        yield CachedModel(one_registry, ModelSpec(str(minilm), device="cpu"), cache)
        cache.close()

    @pytest.fixture
    def load_count(self, one_registry: ModelRegistry) -> Callable[[], int]:
        return lambda: one_registry.stats().loads


class TestRegistryOfRealModels(ModelRegistryContract):
    lacks = {"loading": "a load of real files fails by them"}

    @pytest.fixture
    def registry(self, tinies: list[Path]) -> ModelRegistry:
        type(self).spec, type(self).other_spec = (ModelSpec(str(p), device="cpu") for p in tinies)
        return ModelRegistry()

    @pytest.fixture
    def load_count(self, registry: ModelRegistry) -> Callable[[], int]:
        return lambda: registry.stats().loads


class _OfFiles(BackendContract):
    @pytest.fixture
    def spec(self, tinies: list[Path]) -> ModelSpec:
        return ModelSpec(str(tinies[0]), device="cpu")

    @pytest.fixture
    def other_spec(self, tinies: list[Path]) -> ModelSpec:
        return ModelSpec(str(tinies[1]), device="cpu")

    @pytest.fixture
    def missing(self) -> ModelSpec:
        return ModelSpec("nobody/has-this", device="cpu")

    @pytest.fixture
    def unloadable(self, tmp_path: Path) -> ModelSpec:
        """Whole, and of an architecture that nobody knows."""
        path = tiny_bert(tmp_path / "unknown")
        config = path / "config.json"
        config.write_text(config.read_text().replace('"bert"', '"never-heard-of"'))
        return ModelSpec(str(path), device="cpu")


class TestTorchBackend(_OfFiles):
    @pytest.fixture
    def backend(self) -> TorchBackend:
        return TorchBackend()


@pytest.mark.stress
class TestOnnxBackend(_OfFiles):
    """An export takes ten seconds and more."""

    lacks = {"load_errors": "what cannot be exported fails while it is prepared"}

    @pytest.fixture
    def spec(self, tinies: list[Path]) -> ModelSpec:
        return ModelSpec(str(tinies[0]), backend="onnx", device="cpu")

    @pytest.fixture
    def other_spec(self, tinies: list[Path]) -> ModelSpec:
        return ModelSpec(str(tinies[1]), backend="onnx", device="cpu")

    @pytest.fixture
    def backend(self) -> OnnxBackend:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason="needs the extra onnx")
        return OnnxBackend()

    @pytest.fixture
    def artifacts(self, exports: ArtifactStore) -> ArtifactStore:
        return exports
