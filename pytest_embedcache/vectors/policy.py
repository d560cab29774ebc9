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
    #: Whether this process has to compute, and no other may.
    here = False
    #: Whether nothing but the recordings may be asked.
    replays = False

    def source(self, registry: ModelRegistry, spec: ModelSpec) -> ModelSource:
        """The model behind the vectors of `spec`; not a fake, whose vectors are kept apart.

        Raises `FakeModelError`, and what `ModelRegistry.identify` raises.
        """
        return self.real(registry, spec)

    @staticmethod
    def real(registry: ModelRegistry, spec: ModelSpec) -> ModelSource:
        """The model of `spec`, if it is no fake."""
        from pytest_embedcache.errors import FakeModelError
        from pytest_embedcache.fingerprint import is_fake
        from pytest_embedcache.vectors.source import ModelSource

        found = ModelSource(registry, spec)
        if is_fake(found.identity.fingerprint):
            raise FakeModelError(
                found.identity.name,
                "is a fake, and this store is one of real models",
                "Give it the store of fakes (pytest_embedcache.testing.fakes.fake_cache()), "
                "or the mode fake.",
            )
        return found

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
