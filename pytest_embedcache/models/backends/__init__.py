"""How a model comes to be: one file and one row of the table each."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from pytest_embedcache.errors import MissingExtraError
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends.onnx import OnnxBackend
from pytest_embedcache.models.backends.torch import TorchBackend
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.spec import ModelSpec

__all__ = ["BACKENDS", "Backend", "Probing", "describe"]


class Backend(Protocol):
    """Prepares, imports and builds; called by a registry, in this order."""

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        """Return the resolved spec; the model's files are on this machine afterwards."""

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        """Say which model `spec` means, without loading it or asking the network.

        Raises `ModelNotFoundError` where that needs a preparation first.
        """

    def signature(self, spec: ModelSpec) -> str | None:
        """That of the identity, for a resolved spec, as its files are now."""

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        """What can be changed on a loaded model and changes its vectors, read in microseconds."""

    def import_libraries(self) -> bool:
        """Import what `load` needs; True if that was not imported before."""

    def load(self, spec: ModelSpec) -> Any:
        """Build the model of a resolved spec.

        Raises `ModelLoadError`, with the original error as its cause.
        """


class _Late:
    """A backend whose module is imported when it is first asked for something."""

    def __init__(self, module: str, name: str) -> None:
        self._module = f"{__name__}.{module}"
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "_backend":
            from importlib import import_module

            self._backend = getattr(import_module(self._module), self._name)()
            return self._backend
        return getattr(self._backend, attribute)


_OPENAI: Any = _Late("openai", "OpenAIBackend")

BACKENDS: dict[str, Backend] = {
    "torch": TorchBackend(),
    "onnx": OnnxBackend(),
    "openai": _OPENAI,
}


@runtime_checkable
class Describing(Protocol):
    """A backend that has a model's metadata without hashing its weights."""

    def metadata(self, spec: ModelSpec) -> ModelMetadata | None:
        """What the files of `spec` say; None where they are not here."""


@runtime_checkable
class Probing(Protocol):
    """A backend that can tell, without importing anything, that it could load no model."""

    def missing(self) -> MissingExtraError | None:
        """What is not installed; None where all is."""


def describe(backend: Backend, spec: ModelSpec, artifacts: ArtifactStore | None) -> ModelMetadata:
    """The metadata of `spec`: read from its files, or as they were when it was last identified.

    Raises as `Backend.identify` does.
    """
    if isinstance(backend, Describing) and (found := backend.metadata(spec)) is not None:
        return found
    return backend.identify(spec, artifacts or ArtifactStore()).metadata
