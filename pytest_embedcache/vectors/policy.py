"""What a mode does otherwise than the plain way from a text to its vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.models.remote import RemoteModel
    from pytest_embedcache.spec import ModelSpec
    from pytest_embedcache.vectors.source import Keyed, ModelSource

__all__ = ["Policy"]


class Policy:
    """The plain way; `recording` and `replay` have others. Called from any thread."""

    #: Texts that are computed and stored together at most; None leaves it to the encoder.
    together: int | None = None
    #: Whether nothing but the recordings may be asked.
    replays = False

    def source(self, registry: ModelRegistry, spec: ModelSpec) -> ModelSource:
        """The model behind the vectors of `spec`."""
        from pytest_embedcache.vectors.source import ModelSource

        return ModelSource(registry, spec)

    def remote(self, remote: RemoteModel) -> ModelSource:
        """The same for a model that a service has."""
        from pytest_embedcache.vectors.remote_source import RemoteSource

        return RemoteSource(remote)

    def missing(self, texts: Mapping[bytes, str], keyed: Keyed) -> None:
        """Called before these texts are computed, with their keys; may raise."""

    def computing(
        self, compute: Callable[[Any, list[str]], Any]
    ) -> Callable[[Any, list[str]], Any]:
        """How texts are computed: (model, texts) -> one row for each."""
        return compute

    def computed(self, texts: Mapping[bytes, str], keyed: Keyed, model: Any) -> None:
        """Called before the vectors of these texts are put into the store."""
