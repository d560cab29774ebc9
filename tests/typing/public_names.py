"""What a user's type checker sees; checked by `mypy --strict`, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

from pytest_embedcache import (
    CachedModel,
    EmbedCacheError,
    ModelRegistry,
    ModelSpec,
    default_registry,
    get_model,
)
from pytest_embedcache.models.registry import RegistryStats

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
