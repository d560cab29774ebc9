"""Fakes behind a registry: `get_model`, and whatever else asks one, gets them for any name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import FakeModelError
from pytest_embedcache.fingerprint import is_fake
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.testing.fake_model import identity_of
from pytest_embedcache.testing.fake_names import short_name
from pytest_embedcache.vectors.policy import Policy

if TYPE_CHECKING:
    from pytest_embedcache.models.artifacts import ArtifactStore
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.source import ModelSource

__all__ = ["FakeBackend", "FakePolicy", "fake_cache"]

_NO_FILES = "fake"


class Fakes(Protocol):
    """What decides the vectors of a name."""

    kind: str
    roles: bool

    def dimension_of(self, name: str) -> int:
        """The dimension of the model `name`."""


class FakeBackend:
    """A backend whose models are fakes: any name is there, and nothing is read."""

    def __init__(self, make: Callable[..., Any], fakes: Fakes) -> None:
        self._make = make
        self._fakes = fakes

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        # A path of its own: no resolved spec of a real model equals it.
        return spec.replace(
            name=short_name(spec.name),
            backend="fake",
            device=spec.device or "cpu",
            dtype=spec.dtype or "float32",
            path=f"fake:{digest(short_name(spec.name), spec.revision or '')[:16]}",
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        name, fakes = short_name(spec.name), self._fakes
        size = fakes.dimension_of(name)
        # No real model has this fingerprint: fakes and real models never share a vector.
        fingerprint = identity_of(name, fakes.kind, size, roles=fakes.roles)
        prompts = {"query": "", "document": ""}  # as the fakes themselves have them, loaded
        metadata = ModelMetadata(
            dimension=size, max_seq_length=256, prompts=prompts, has_roles=fakes.roles
        )
        return Identity(name, fingerprint, "float32", metadata, _NO_FILES)

    def signature(self, spec: ModelSpec) -> str | None:
        return _NO_FILES

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        return (
            ("max_seq_length", str(model.max_seq_length)),
            ("prompts", str(sorted(model.prompts.items()))),
            ("default_prompt_name", str(model.default_prompt_name)),
            ("truncate_dim", str(model.truncate_dim)),
        )

    def import_libraries(self) -> bool:
        return False

    def load(self, spec: ModelSpec) -> Any:
        return self._make(spec.name, device=spec.device)


class FakePolicy(Policy):
    """Of a store for fakes alone: the vectors of a real model are not for it."""

    def source(self, registry: ModelRegistry, spec: ModelSpec) -> ModelSource:
        from pytest_embedcache.vectors.source import ModelSource

        found = ModelSource(registry, spec)
        if not is_fake(found.identity.fingerprint):
            raise FakeModelError(
                found.identity.name,
                "is a real model, and this store is one of fakes",
                "Give it a store of its own, or take fake_embedding_model.",
            )
        return found


def fake_cache() -> VectorCache:
    """An empty store for fakes: in memory, and gone with it."""
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.memory import MemoryStore
    from pytest_embedcache.vectors.tiered import TieredStore

    return VectorCache(TieredStore([MemoryStore()]), FakePolicy())
