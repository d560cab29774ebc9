"""What a user's type checker sees; checked by `mypy --strict`, never run."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

from pytest_embedcache import (
    CachedModel,
    EmbedCacheError,
    EmbedderService,
    ModelRegistry,
    ModelSpec,
    ResourceProfile,
    SemanticIndex,
    default_registry,
    get_embedder_service,
    get_embedding_provider,
    get_model,
    preload,
    preload_embeddings,
)
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.registry import RegistryStats
from pytest_embedcache.search import Result, Results
from pytest_embedcache.service.results import BatchEmbeddings, TextEmbedding
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

index = SemanticIndex(Path("index"), get_model("all-MiniLM-L6-v2"))
assert_type(index.add(["a cat"], metadata=[{"page": 1}]), list[str])
assert_type(index.search("a cat", k=3, filter={"page": 1}), Results)
assert_type(index.hybrid_search("a cat", wait=False)[0], Result)

service = EmbedderService("all-MiniLM-L6-v2", idle_timeout=60.0)
assert_type(get_embedder_service(), EmbedderService)
assert_type(service.sync.embed_text("a cat", use_cache=False), TextEmbedding)
assert_type(service.sync.embed_batch(["a cat"], batch_size=8), BatchEmbeddings)
assert_type(service.sync.embed_text("a cat").cost, Decimal | None)


async def with_a_loop() -> None:
    assert_type(await service.embed_query("a cat", dimensions=64), TextEmbedding)
    assert_type(await service.embed_batch(["a cat"]), BatchEmbeddings)
