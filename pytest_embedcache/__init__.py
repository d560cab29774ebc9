"""Load an embedding model once per process, and prepare it once per machine.

The public names are resolved on first use (PEP 562), so that importing the package costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # without importing `typing`: a preload has ten milliseconds
if TYPE_CHECKING:
    from typing import Any

    from pytest_embedcache.errors import EmbedCacheError as EmbedCacheError
    from pytest_embedcache.models.profile import ResourceProfile as ResourceProfile
    from pytest_embedcache.models.registry import ModelRegistry as ModelRegistry
    from pytest_embedcache.models.registry import default_registry as default_registry
    from pytest_embedcache.search.semantic.index import SemanticIndex as SemanticIndex
    from pytest_embedcache.service.embedder import EmbedderService as EmbedderService
    from pytest_embedcache.service.embedder import get_embedder_service as get_embedder_service
    from pytest_embedcache.spec import ModelSpec as ModelSpec
    from pytest_embedcache.vectors.api import get_model as get_model
    from pytest_embedcache.vectors.cached_model import CachedModel as CachedModel
    from pytest_embedcache.vectors.loading import get_embedding_provider as get_embedding_provider
    from pytest_embedcache.vectors.loading import preload as preload
    from pytest_embedcache.vectors.loading import preload_embeddings as preload_embeddings
    from pytest_embedcache.vectors.loading import reset as reset

__all__ = [
    "CachedModel",
    "EmbedCacheError",
    "EmbedderService",
    "ModelRegistry",
    "ModelSpec",
    "ResourceProfile",
    "SemanticIndex",
    "__version__",
    "default_registry",
    "get_embedder_service",
    "get_embedding_provider",
    "get_model",
    "preload",
    "preload_embeddings",
    "reset",
]

_HOMES = {
    "CachedModel": "pytest_embedcache.vectors.cached_model",
    "EmbedCacheError": "pytest_embedcache.errors",
    "EmbedderService": "pytest_embedcache.service.embedder",
    "ModelRegistry": "pytest_embedcache.models.registry",
    "ModelSpec": "pytest_embedcache.spec",
    "ResourceProfile": "pytest_embedcache.models.profile",
    "SemanticIndex": "pytest_embedcache.search.semantic.index",
    "default_registry": "pytest_embedcache.models.registry",
    "get_embedder_service": "pytest_embedcache.service.embedder",
    "get_embedding_provider": "pytest_embedcache.vectors.loading",
    "get_model": "pytest_embedcache.vectors.api",
    "preload": "pytest_embedcache.vectors.loading",
    "preload_embeddings": "pytest_embedcache.vectors.loading",
    "reset": "pytest_embedcache.vectors.loading",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pytest-embedcache")
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value  # the next access does not come here
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
