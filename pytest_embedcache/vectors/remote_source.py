"""The model behind vectors that a service computes: there is nothing to load, nothing to change."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pytest_embedcache.errors import ReplayModelError
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.remote import DIMENSIONS, RemoteModel
from pytest_embedcache.vectors.source import Keyed, ModelSource

__all__ = ["RecordedRemote", "RemoteSource", "identity_of"]


def identity_of(remote: RemoteModel) -> Identity:
    """What keys are made from; services compute in formats that float32 holds."""
    dimension = remote.dimensions or DIMENSIONS.get(remote.name)
    metadata = ModelMetadata(dimension=dimension)
    return Identity(remote.name, remote.fingerprint, "float32", metadata, remote=remote)


class _Service:
    """Stands where a loaded model's handle does: always there, for any number of calls at once."""

    def held(self, *, here: bool = True) -> AbstractContextManager[None]:
        return nullcontext()

    using = held

    def state(self) -> tuple[tuple[str, str], ...]:
        return ()


class RemoteSource(ModelSource):
    """A `ModelSource` whose model is somewhere else."""

    in_one_call = True

    def __init__(self, remote: RemoteModel) -> None:
        self.identity = identity_of(remote)
        self._keyed = {}
        self._service: Any = _Service()

    def loaded(self) -> None:
        return None

    def handle(self, needed: str = "this") -> Any:
        return self._service

    def holds(self, keyed: Keyed, handle: Any, model: Any) -> bool:
        return True


class RecordedRemote(RemoteSource):
    """The same in replay, where the service is not asked."""

    def handle(self, needed: str = "this") -> Any:
        raise ReplayModelError(self.identity.name, needed)
