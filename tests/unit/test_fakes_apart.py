"""Fakes and real models never share a vector: each side refuses the other's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.encoders import Files, PureBackend

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.errors import FakeModelError
from pytest_embedcache.fingerprint import is_fake
from pytest_embedcache.models.backends import Backend
from pytest_embedcache.testing.fake_backend import FakeBackend, fake_cache
from pytest_embedcache.testing.fakes import FakeEmbeddingModel, FakeEmbeddingModels
from pytest_embedcache.vectors.api import StoreSettings, open_cache
from pytest_embedcache.vectors.cached_model import CachedModel

SPEC = ModelSpec("m", backend="pure", device="cpu")


def fake_registry() -> ModelRegistry:
    fakes = FakeEmbeddingModels()
    backend: Backend = FakeBackend(fakes, fakes)
    return ModelRegistry(backends={"pure": backend, "fake": backend})


def real_registry() -> ModelRegistry:
    return ModelRegistry(backends={"pure": PureBackend(m=Files())})


def test_the_store_of_real_models_refuses_a_fake(tmp_path: Path) -> None:
    """Before anything is computed, and with what to do."""
    cache = open_cache(StoreSettings(directory=str(tmp_path)))
    with pytest.raises(FakeModelError, match=r"model 'm' is a fake.*fake_cache\(\)"):
        CachedModel(fake_registry(), SPEC, cache)
    assert cache.store is not None
    assert CachedModel(real_registry(), SPEC, cache).encode("a").shape == (8,)
    assert cache.store.stats().entries == 1
    cache.close()


def test_the_store_of_fakes_refuses_a_real_model() -> None:
    """And has the fakes', in memory alone."""
    cache = fake_cache()
    with pytest.raises(FakeModelError, match=r"model 'm' is a real model.* fake_embedding_model"):
        CachedModel(real_registry(), SPEC, cache)
    registry = fake_registry()
    model = CachedModel(registry, SPEC, cache)
    first = model.encode(["a cat", "a dog"])
    assert np.array_equal(model.encode(["a dog", "a cat"]), first[::-1])
    assert is_fake(model.fingerprint)
    assert cache.store is not None
    assert [store.name for store in cache.store.stores] == ["memory"]
    assert registry.get(SPEC).batch_sizes == [2]


def test_behind_a_store_it_is_the_fake_that_it_says() -> None:
    """Fingerprint, dimension and vectors are those of the model alone; roles are kept apart."""
    model = CachedModel(fake_registry(), SPEC, fake_cache())
    alone = FakeEmbeddingModel("m")
    assert model.fingerprint == alone.fingerprint
    assert model.get_embedding_dimension() == 384
    for one, other in (
        (model.encode, alone.encode),
        (model.encode_query, alone.encode_query),
        (model.encode_document, alone.encode_document),
    ):
        assert one(["a cat"]).tobytes() == other(["a cat"]).tobytes()


def test_a_fake_in_the_place_of_the_class_is_not_loaded_as_a_model(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors would be stored as those of the model whose files are there."""
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeEmbeddingModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    registry = ModelRegistry()
    with pytest.raises(FakeModelError, match=r"FakeEmbeddingModel, a fake, .* the real class"):
        registry.get(ModelSpec(str(tiny), device="cpu", dtype="float32"))
    assert registry.stats().as_dict()["models"][0]["loads"] == 0
