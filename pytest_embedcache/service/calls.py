"""The calls of the service: each starts in the caller's thread, and gives a future."""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from pytest_embedcache.errors import ServiceClosedError, TooManyWaitingError
from pytest_embedcache.models.idle import VARIABLE as TIMEOUT
from pytest_embedcache.models.idle import default_idle_timeout
from pytest_embedcache.models.openai.answers import estimated_tokens
from pytest_embedcache.models.registry import ModelRegistry, default_registry
from pytest_embedcache.service.caches import cache_for
from pytest_embedcache.service.counts import ServiceCounts
from pytest_embedcache.service.model_table import ModelRow, ModelTable
from pytest_embedcache.service.opened import OpenModels
from pytest_embedcache.service.pricing import cost_of
from pytest_embedcache.service.requests import Request, checked
from pytest_embedcache.service.results import BatchEmbeddings, GivenUp, TextEmbedding
from pytest_embedcache.service.served import Served
from pytest_embedcache.service.threads import Threads
from pytest_embedcache.vectors.apart import Tokens
from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["Calls"]

_API_DEFAULT, _LOCAL_DEFAULT = "text-embedding-3-small", "all-MiniLM-L6-v2"
#: Seconds.
_IDLE = 900.0
#: Texts that are looked up in memory in the caller's own thread: about half a millisecond.
_AT_HAND = 128


class Calls:
    """What `EmbedderService` does; its arguments are those of that class.

    Attributes:
        default_model, table, cache, counts, models: Of the service.
    """

    def __init__(
        self,
        default_model: str | None,
        openai_api_key: str | None,
        redis_client: Any,
        enable_caching: bool,
        *,
        models_file: str | os.PathLike[str] | None,
        idle_timeout: float | None,
        max_wait: float,
        max_waiting: int | None,
        registry: ModelRegistry | None,
        cache: VectorCache | None,
    ) -> None:
        self.table = ModelTable(models_file)
        has_key = bool(openai_api_key or os.environ.get("OPENAI_API_KEY"))
        chosen = default_model or (_API_DEFAULT if has_key else _LOCAL_DEFAULT)
        self.default_model = self.table[chosen].name
        self.counts = ServiceCounts()
        if idle_timeout is None:
            idle_timeout = default_idle_timeout() if os.environ.get(TIMEOUT) else _IDLE
        self._idle_timeout = idle_timeout
        self._max_wait = max_wait
        self._max_waiting = max_waiting
        self.cache, self._owns_cache = cache_for(redis_client, enable_caching, cache)
        self.models = OpenModels(
            self.table.rows(), self.cache, registry or default_registry(), openai_api_key, self._how
        )
        self._closed = False
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        """Also in a forked child, where the threads and what they did do not exist."""
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._under_way: set[Request] = set()
        self._threads = Threads()
        self.models.renew()
        self.counts.renew()

    def _how(self, row: ModelRow) -> dict[str, Any]:
        """How a model is served."""
        return {
            "idle_timeout": self._idle_timeout,
            "max_wait": self._max_wait,
            "start": functools.partial(self._threads.start, row.name),
            "report": self._has_encoded,
        }

    # ------------------------------------------------------------------------------ the calls

    def embed_text(
        self,
        text: str,
        model: str | None = None,
        use_cache: bool = True,
        *,
        dimensions: int | None = None,
    ) -> Future[TextEmbedding]:
        """The vector of `text`, in the role of a document: a `TextEmbedding`.

        With `use_cache=False` it is computed, whatever the store has, and not stored. `dimensions`
        cuts it and brings it back to unit length, as OpenAI's parameter of that name does.

        Raises:
            UnknownModelError: The model is not in the table.
            EmptyTextError: The text is empty, and the model is behind an API.
            TypeError: It is not a string.
            ValueError: There are not that many dimensions.
            ServiceClosedError: The service was closed.
            ProviderError: The API did not answer with vectors.
            TooManyWaitingError: The service has a bound, and as many texts wait already.
            EmbedCacheError: The model was needed, and could not be had.
        """
        return self._start("document", (text,), model, None, use_cache, dimensions, single=True)

    def embed_query(
        self,
        query: str,
        model: str | None = None,
        use_cache: bool = True,
        *,
        dimensions: int | None = None,
    ) -> Future[TextEmbedding]:
        """As `embed_text`, in the role of a query: with its own prompt, under its own key."""
        return self._start("query", (query,), model, None, use_cache, dimensions, single=True)

    def embed_batch(
        self,
        texts: Sequence[str],
        model: str | None = None,
        batch_size: int | None = None,
        use_cache: bool = True,
        *,
        dimensions: int | None = None,
    ) -> Future[BatchEmbeddings]:
        """The vectors of `texts`, row i for text i, as documents: a `BatchEmbeddings`.

        `batch_size` is how many go through the model, or into a request, at once; None is what the
        table says. Raises as `embed_text` does; an empty text among them is an error of the batch.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string: give a list of them, or use embed_text()")
        return self._start("document", tuple(texts), model, batch_size, use_cache, dimensions)

    # ------------------------------------------------------------------------------ one call

    def _start(
        self,
        role: str,
        texts: tuple[str, ...],
        model: str | None,
        batch_size: int | None,
        use_cache: bool,
        dimensions: int | None,
        *,
        single: bool = False,
    ) -> Future[Any]:
        row = self.table[model or self.default_model]
        texts = checked(row, texts, batch_size, dimensions)
        request = Request(
            row, role, texts, single=single, dimensions=dimensions, done=self._has_ended
        )
        with self._lock:
            if self._closed:
                raise ServiceClosedError("EmbedderService")
            self._under_way.add(request)
        size = batch_size or row.batch_size
        try:
            if not self._is_at_hand(request, use_cache):
                self.models.when_open(
                    row,
                    functools.partial(self._threads.start, row.name),
                    lambda served: self._threads.look(
                        lambda: self._look(served, request, size, use_cache)
                    ),
                    request.fail,
                )
        except BaseException as error:
            request.fail(error)
        return request.future

    def _is_at_hand(self, request: Request, use_cache: bool) -> bool:
        """Whether all of it was in memory, and so it is done."""
        served = self.models.get(request.row.name)
        if not request.distinct:
            request.take({})
            return True
        if served is None or not use_cache or len(request.distinct) > _AT_HAND:
            return False
        found = served.texts(request.role).at_hand(request.distinct)
        if found is None:
            return False
        request.take(found)
        return True

    def _look(self, served: Served, request: Request, size: int, use_cache: bool) -> None:
        """What stores have of it; the rest goes to the model. In a thread."""
        try:
            if request.is_given_up:
                request.fail(CancelledError())
                return
            found = served.texts(request.role).stored(request.distinct) if use_cache else {}
            missing = request.missing(found)
            if missing:
                self._check_waiting(served, len(missing))
                served.lane(request.role, size, use_cache).add(request, missing)
            request.take(found)
        except BaseException as error:
            request.fail(error)

    def _check_waiting(self, served: Served, more: int) -> None:
        if self._max_waiting is None:
            return
        waiting = served.queued
        # A single call that is larger than the bound is taken where nothing waits.
        if waiting and waiting + more > self._max_waiting:
            raise TooManyWaitingError(waiting, self._max_waiting)

    # ------------------------------------------------------------------------------ counting

    def _has_ended(self, request: Request) -> None:
        gone = request.future.cancelled()  # neither an error nor a result
        ended_well = request.error is None and not gone
        saved = request.saved_tokens if ended_well else 0
        self.counts.request(
            request.row.name,
            request.role,
            seconds=time.perf_counter() - request.began,
            texts=len(request.texts) if ended_well else 0,
            cached=request.cached_count if ended_well else 0,
            tokens_saved=saved,
            saved=cost_of(saved, request.row.price),
            failed=not (ended_well or gone),
        )
        with self._ended:
            self._under_way.discard(request)
            self._ended.notify_all()

    def _has_encoded(self, row: ModelRow, role: str, sent: Tokens, seconds: float) -> None:
        """Also where it failed in the end: what a provider has answered is to be paid."""
        if not sent:
            return
        guessed = [text for text, tokens in sent.items() if tokens is None]
        estimated = sum(map(estimated_tokens, guessed))
        tokens = estimated + sum(filter(None, sent.values()))
        self.counts.encoded(
            row.name,
            role,
            texts=len(sent),
            tokens=tokens,
            estimated=estimated,
            cost=cost_of(tokens, row.price),
            seconds=seconds,
        )

    # ------------------------------------------------------------------------------ what there is

    @property
    def is_closed(self) -> bool:
        """Whether it accepts nothing more."""
        return self._closed

    def close(self, timeout: float | None = None) -> GivenUp:
        """Finish what was accepted, and accept nothing more. Calling it again does nothing.

        What is not finished after `timeout` seconds is given up: its callers get a
        `ServiceClosedError`, and what is in a model then goes on without them, until the end of the
        process, which waits for it. None waits for as long as it takes.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._ended:
            if self._closed:
                return GivenUp(0, 0)
            self._closed = True
            self._ended.wait_for(lambda: not self._under_way, timeout)
            unfinished = list(self._under_way)
        for request in unfinished:
            request.fail(ServiceClosedError("EmbedderService"))
        left = self._threads.close(until)
        if self._owns_cache:
            self.cache.close()
        return GivenUp(len(unfinished), left)


_all: weakref.WeakSet[Calls] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for calls in list(_all):
        calls._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
