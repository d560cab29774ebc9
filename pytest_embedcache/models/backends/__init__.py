"""How a model comes to be: one file and one row of the table each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from pytest_embedcache.errors import MissingExtraError
from pytest_embedcache.models.artifacts import ArtifactStore
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


class _Table(MutableMapping[str, Backend]):
    """Backends by name; one is imported when it is first looked up: few processes use two."""

    def __init__(self, homes: Mapping[str, tuple[str, str]]) -> None:
        self._rows: dict[str, Backend | tuple[str, str]] = dict(homes)

    def __getitem__(self, name: str) -> Backend:
        found = self._rows[name]
        if isinstance(found, tuple):
            module, kind = found
            made: Backend = getattr(import_module(f"{__name__}.{module}"), kind)()
            found = self._rows[name] = made
        return found

    def __setitem__(self, name: str, backend: Backend) -> None:
        self._rows[name] = backend

    def __delitem__(self, name: str) -> None:
        del self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


#: By name; each row names the module and the class.
BACKENDS: MutableMapping[str, Backend] = _Table(
    {
        "torch": ("torch", "TorchBackend"),
        "onnx": ("onnx", "OnnxBackend"),
        "openai": ("openai", "OpenAIBackend"),
    }
)


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
