"""`EmbedderService`: the one object through which an application embeds."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from pytest_embedcache.errors import SettingsError
from pytest_embedcache.service.calls import Calls
from pytest_embedcache.service.metrics import exposition, summary

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.service.results import GivenUp
    from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["EmbedderService", "SyncEmbedder", "get_embedder_service", "swap_embedder_service"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Start = Callable[Concatenate[Calls, _P], Future[_R]]


def _awaited(
    start: _Start[_P, _R],
) -> Callable[Concatenate[EmbedderService, _P], Coroutine[Any, Any, _R]]:
    """The method of `Calls` for who has an event loop."""

    @functools.wraps(start)
    async def call(self: EmbedderService, /, *args: _P.args, **options: _P.kwargs) -> _R:
        future = start(self._calls, *args, **options)
        # A hit in memory is there already, and needs no turn of the loop.
        return future.result() if future.done() else await asyncio.wrap_future(future)

    return call


def _waited(start: _Start[_P, _R]) -> Callable[Concatenate[SyncEmbedder, _P], _R]:
    """The same for who has none."""

    @functools.wraps(start)
    def call(self: SyncEmbedder, /, *args: _P.args, **options: _P.kwargs) -> _R:
        return start(self._calls, *args, **options).result()

    return call


class SyncEmbedder:
    """The calls of a service without `await`, for callers that have no event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    embed_text = _waited(Calls.embed_text)
    embed_query = _waited(Calls.embed_query)
    embed_batch = _waited(Calls.embed_batch)


class EmbedderService:
    """Embeds texts with many models; their vectors are cached, their costs are counted.

    Safe for any number of threads and event loops. Models are loaded at the first text that no
    store has, and unloaded when nobody uses them. Texts that arrive together are encoded together,
    and those that are equal once. What is encoded never runs on the caller's event loop, and a
    caller that is cancelled takes nothing away from others.

    Args:
        default_model: For calls that name none. None is `text-embedding-3-small` where there is a
            key for OpenAI, else `all-MiniLM-L6-v2`.
        openai_api_key: None is what `OPENAI_API_KEY` says when a model first needs it.
        redis_client: A `redis.Redis` whose vectors are shared with other machines; None is what
            `EMBEDCACHE_REDIS_URL` says. When it goes away, the service goes on without.
        enable_caching: Whether vectors are kept at all.
        models_file: A TOML file with more models; None is what `EMBEDCACHE_MODELS_FILE` says.
        idle_timeout: Seconds after which a model that nobody uses is unloaded; -1 is never. None is
            what `EMBEDCACHE_MODEL_TIMEOUT` says, else 900.
        max_wait: Seconds that a text waits at most for others to be encoded with it.
        max_waiting: Texts that may wait to be encoded by a model; a call with more is refused. None
            is no bound.
        registry: Loads the models; None is the process's.
        cache: Keeps the vectors; None is the process's, or one with `redis_client`.

    Attributes:
        sync: The same calls without `await`.

    Raises:
        SettingsError: The table of models, or another argument, cannot be used.
        UnknownModelError: The default model is not in the table.
    """

    def __init__(
        self,
        default_model: str | None = None,
        openai_api_key: str | None = None,
        redis_client: Any = None,
        enable_caching: bool = True,
        *,
        models_file: str | os.PathLike[str] | None = None,
        idle_timeout: float | None = None,
        max_wait: float = 0.002,
        max_waiting: int | None = None,
        registry: ModelRegistry | None = None,
        cache: VectorCache | None = None,
    ) -> None:
        self._calls = Calls(
            default_model,
            openai_api_key,
            redis_client,
            enable_caching,
            models_file=models_file,
            idle_timeout=idle_timeout,
            max_wait=max_wait,
            max_waiting=max_waiting,
            registry=registry,
            cache=cache,
        )
        self.sync = SyncEmbedder(self._calls)

    embed_text = _awaited(Calls.embed_text)
    embed_query = _awaited(Calls.embed_query)
    embed_batch = _awaited(Calls.embed_batch)

    @property
    def default_model(self) -> str:
        """The model of calls that name none."""
        return self._calls.default_model

    @property
    def caching_enabled(self) -> bool:
        """Whether vectors are kept."""
        return self._calls.cache.store is not None

    @property
    def queued(self) -> int:
        """Texts that wait to be encoded."""
        return self._calls.models.queued

    @property
    def models_loaded(self) -> list[str]:
        """The models that are in memory now, by their names in the table."""
        return self._calls.models.loaded()

    def get_available_models(self) -> dict[str, dict[str, Any]]:
        """The table of models, by name, in built-in types."""
        return {name: row.as_dict() for name, row in self._calls.table.rows().items()}

    def describe_model(self, name: str) -> dict[str, Any]:
        """The row of the table that answers for `name`, in built-in types.

        Raises:
            UnknownModelError: There is none.
        """
        return self._calls.table[name].as_dict()

    def get_metrics(self) -> dict[str, Any]:
        """What was done since the start, or the last `reset_metrics`.

        Has `total_embeddings_generated` (texts that went to a model), `cache_hit_rate` (0 to 1, of
        all texts; None before the first), `total_cost_usd` and `total_saved_usd` (`Decimal`, as far
        as prices are known), `models_loaded` (names), `models` (the same for each), and more.
        """
        return summary(self._calls)

    def reset_metrics(self) -> None:
        """Begin to count anew."""
        self._calls.counts.reset()

    def prometheus(self) -> tuple[bytes, str]:
        """The metrics for Prometheus, and their content type.

        Raises `MissingExtraError` where prometheus-client is not installed.
        """
        return exposition(self._calls)

    def close(self, timeout: float | None = None) -> GivenUp:
        """Finish what was accepted, and accept nothing more. Calling it again does nothing.

        What is not finished after `timeout` seconds is given up, and told: its callers get a
        `ServiceClosedError`, and what is in a model then goes on without them, until the end of the
        process, which waits for it. None waits for as long as it takes.
        """
        return self._calls.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_service: EmbedderService | None = None
_lock = threading.Lock()


def get_embedder_service(**options: Any) -> EmbedderService:
    """The process's one, made on the first call, and again when it was closed.

    `options` are those of its constructor.

    Raises `SettingsError` where it was made before, and options are given.
    """
    global _service
    with _lock:
        if _service is None or _service._calls.is_closed:
            _service = EmbedderService(**options)
        elif options:
            raise SettingsError(
                "get_embedder_service()",
                ", ".join(sorted(options)),
                "the call",
                "the process has its service already: give the options at the first call, or make "
                "an EmbedderService of your own",
            )
        return _service


def swap_embedder_service(service: EmbedderService | None) -> EmbedderService | None:
    """Put `service` in the place of the process's one and return what was there (for tests)."""
    global _service
    with _lock:
        previous, _service = _service, service
        return previous


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
