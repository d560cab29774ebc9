"""A fake in the place of a model that a service has: in mode `fake` no service is asked."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.testing.fake_model import identity_of
from pytest_embedcache.vectors.remote_source import RemoteSource

if TYPE_CHECKING:
    from pytest_embedcache.models.remote import RemoteModel
    from pytest_embedcache.testing.fake_model import FakeEmbeddingModel
    from pytest_embedcache.testing.fakes import FakeEmbeddingModels

__all__ = ["FakeRemote"]


class _Fake:
    """Stands where a loaded model's handle does."""

    def __init__(self, model: FakeEmbeddingModel) -> None:
        self._model = model

    def held(self, *, here: bool = True) -> AbstractContextManager[None]:
        return nullcontext()

    def using(self, *, here: bool = True) -> AbstractContextManager[FakeEmbeddingModel]:
        return nullcontext(self._model)

    def state(self) -> tuple[tuple[str, str], ...]:
        return ()


class FakeRemote(RemoteSource):
    """The source of a service's model, whose vectors are those of the fake of that name.

    Its dimension is the one that is asked for, or else that of the name.

    Raises `ValueError` for dimensions that no fake has.
    """

    def __init__(self, remote: RemoteModel, fakes: FakeEmbeddingModels) -> None:
        size = fakes.dimension_of(remote.name) if remote.dimensions is None else remote.dimensions
        #: The fake itself.
        self.model = fakes(remote.name, dimension=size)
        fingerprint = identity_of(remote.name, fakes.kind, size, roles=fakes.roles)
        metadata = ModelMetadata(dimension=size)
        self.identity = Identity(remote.name, fingerprint, "float32", metadata, remote=remote)
        self._keyed = {}
        self._service: Any = _Fake(self.model)
