"""`EmbedderService`: the one object through which an application embeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.service.results import BatchEmbeddings, TextEmbedding
    from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["EmbedderService", "SyncEmbedder", "get_embedder_service", "swap_embedder_service"]


class EmbedderService:
    """Embeds texts with many models; their vectors are cached, their costs are counted.

    Safe for any number of threads and event loops. Models are loaded at the first text that no
    store has, and unloaded when nobody uses them. Texts that arrive together are encoded together,
    and those that are equal once. What is encoded never runs on the caller's event loop.

    Args:
        default_model: For calls that name none. None is `text-embedding-3-small` where there is a
            key for OpenAI, else `all-MiniLM-L6-v2`.
        openai_api_key: None is what `OPENAI_API_KEY` says when a model first needs it.
        redis_client: A `redis.Redis` whose vectors are shared with other machines; None is what
            `EMBEDCACHE_REDIS_URL` says. When it goes away, the service goes on without.
        enable_caching: Whether vectors are kept at all.
        models_file: A TOML file with more models; None is what `EMBEDCACHE_MODELS_FILE` says.
        idle_timeout: Seconds after which a model that nobody uses is unloaded; -1 is never.
        max_wait: Seconds that a text waits at most for others to be encoded with it.
        registry: Loads the models; None is the process's.
        cache: Keeps the vectors; None is the process's, or one with `redis_client`.

    Raises:
        SettingsError: The table of models, or another argument, cannot be used.
    """

    def __init__(
        self,
        default_model: str | None = None,
        openai_api_key: str | None = None,
        redis_client: Any = None,
        enable_caching: bool = True,
        *,
        models_file: str | os.PathLike[str] | None = None,
        idle_timeout: float = 900.0,
        max_wait: float = 0.002,
        registry: ModelRegistry | None = None,
        cache: VectorCache | None = None,
    ) -> None:
        self.default_model = default_model or "all-MiniLM-L6-v2"
        self.caching_enabled = enable_caching

    @property
    def sync(self) -> SyncEmbedder:
        """The same calls without `await`."""
        raise NotImplementedError

    @property
    def queued(self) -> int:
        """Texts that wait to be encoded."""
        raise NotImplementedError

    async def embed_text(
        self,
        text: str,
        model: str | None = None,
        use_cache: bool = True,
        *,
        dimensions: int | None = None,
    ) -> TextEmbedding:
        """The vector of `text`, in the role of a document.

        With `use_cache=False` it is computed, whatever the store has, and not stored. `dimensions`
        cuts it and brings it back to unit length, as OpenAI's parameter of that name does.

        Raises:
            UnknownModelError: The model is not in the table.
            EmptyTextError: The text is empty, and the model is behind an API.
            ProviderError: The API did not answer with vectors.
            ServiceClosedError: The service was closed.
            EmbedCacheError: The model was needed, and could not be had.
            ValueError: There are not that many dimensions.
        """
        raise NotImplementedError

    async def embed_query(
        self,
        query: str,
        model: str | None = None,
        use_cache: bool = True,
        *,
        dimensions: int | None = None,
    ) -> TextEmbedding:
        """As `embed_text`, in the role of a query: its own prompt, and its own key."""
        raise NotImplementedError

    async def embed_batch(
        self,
        texts: Sequence[str],
        model: str | None = None,
        batch_size: int | None = None,
        use_cache: bool = True,
        *,
        dimensions: int | None = None,
    ) -> BatchEmbeddings:
        """The vectors of `texts`, row i for text i, in the role of documents.

        `batch_size` is how many go through the model, or into a request, at once; None is what the
        table says. Raises as `embed_text` does; an empty text among them is an error of the batch.
        """
        raise NotImplementedError

    def get_available_models(self) -> dict[str, dict[str, Any]]:
        """The table of models, by name, in built-in types."""
        raise NotImplementedError

    def get_metrics(self) -> dict[str, Any]:
        """What was done since the start, or the last `reset_metrics`.

        Has `total_embeddings_generated`, `cache_hit_rate` (0 to 1), `total_cost_usd` (a `Decimal`,
        what is known of it), `total_saved_usd`, `models_loaded` (names), and more.
        """
        raise NotImplementedError

    def reset_metrics(self) -> None:
        """Begin to count anew."""
        raise NotImplementedError

    def prometheus(self) -> tuple[bytes, str]:
        """The metrics for Prometheus, and their content type.

        Raises `MissingExtraError` where prometheus-client is not installed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Finish what was accepted, and accept nothing more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SyncEmbedder:
    """`embed_text`, `embed_query` and `embed_batch` of a service, for callers without a loop."""


def get_embedder_service(**options: Any) -> EmbedderService:
    """The process's one, made on the first call; `options` are those of its constructor.

    Raises `SettingsError` where it was made before, and options are given.
    """
    raise NotImplementedError


def swap_embedder_service(service: EmbedderService | None) -> EmbedderService | None:
    """Put `service` in the place of the process's one and return what was there (for tests)."""
    raise NotImplementedError
