"""What a user's type checker sees; checked by `mypy --strict`, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

from pytest_embedcache import (
    CachedModel,
    EmbedCacheError,
    ModelRegistry,
    ModelSpec,
    ResourceProfile,
    default_registry,
    get_embedding_provider,
    get_model,
    preload,
    preload_embeddings,
)
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.registry import RegistryStats
from pytest_embedcache.vectors.loading import Preload

spec = ModelSpec("all-MiniLM-L6-v2", revision="main", device=None, dtype="float32")
assert_type(spec.device, str | None)
assert_type(spec.fingerprint(), str)
assert_type(spec.replace(device="cpu"), ModelSpec)

registry = ModelRegistry(cache_dir=Path("cache"))
assert_type(registry.get(spec), Any)
assert_type(registry.evict("all-MiniLM-L6-v2"), bool)
assert_type(registry.stats(), RegistryStats)
assert_type(registry.stats().loads, int)
assert_type(default_registry(), ModelRegistry)
assert_type(get_model("all-MiniLM-L6-v2", device="cpu"), CachedModel)
assert_type(get_model(Path("model")).fingerprint, str)
assert_type(get_model("all-MiniLM-L6-v2").get_embedding_dimension(), int | None)
assert_type(str(EmbedCacheError()), str)
assert_type(get_model("all-MiniLM-L6-v2", strategy="cached").handle, ModelHandle)
assert_type(get_model("all-MiniLM-L6-v2").metadata, ModelMetadata)
assert_type(preload("all-MiniLM-L6-v2", strategy="background", pin=True), Preload)
assert_type(preload_embeddings().wait(timeout=None), CachedModel)
assert_type(get_embedding_provider("all-MiniLM-L6-v2", timeout=5.0), CachedModel | None)
assert_type(ResourceProfile.here().cores, int)
