"""What a server did lately, and what it does now: for the page, for Prometheus, for a balancer."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

if TYPE_CHECKING:
    from pytest_embedcache.service.embedder import EmbedderService

__all__ = ["EMBEDDING", "EVERY", "Figures", "Sample", "memory_bytes"]

#: Seconds between two samples, and how many are kept: ten minutes.
EVERY = 2.0
KEPT = 300
#: Answers whose times are kept between two samples; their percentiles need no more.
_TIMES = 4096
#: The routes that have a label of their own; a path that anybody can invent has not.
_ROUTES = frozenset(
    {
        *("/", "/metrics", "/figures", "/openapi.json", "/v1/embeddings", "/v1/models"),
        *("/embed/text", "/embed/query", "/embed/batch", "/embed/raw", "/embed/models"),
        *("/embed/metrics", "/embed/metrics/reset", "/embed/health"),
    }
)
#: The routes that answer with vectors.
EMBEDDING = frozenset(
    {"/v1/embeddings", "/embed/text", "/embed/query", "/embed/batch", "/embed/raw"}
)
_BUCKETS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The server between two moments, or at the second of them.

    Attributes:
        at: Seconds of a clock that never goes back.
        answers: Per second, of the routes that embed.
        median, slowest: Seconds of an answer, the latter of the slowest in a hundred; None where
            there was no answer.
        hit_rate: Of the texts asked for, how many were found in a store, 0 to 1; None where none
            was asked for.
        loads: Models loaded, since the start.
        resident: Models in memory.
        memory: Bytes of the process.
        spent, saved: US dollars, since the start or a reset.
    """

    at: float
    answers: float
    median: float | None
    slowest: float | None
    hit_rate: float | None
    loads: int
    resident: int
    memory: int
    spent: float
    saved: float


class Figures:
    """Counts answers, and samples the service while the server runs.

    Args:
        service: What is sampled.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self, service: EmbedderService, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self._service = service
        self._clock = clock
        self._began = clock()
        self._times: deque[float] = deque(maxlen=_TIMES)
        self._answers = 0
        self._before = (self._began, 0, 0)
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "embedcache_http_requests_total",
            "Answers, by route and status",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "embedcache_http_request_seconds",
            "From a request's head to the end of its answer",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        #: Finding a labelled child takes longer than counting.
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}

    def seen(self, path: str, status: int, seconds: float) -> None:
        """An answer went out."""
        route = path if path in _ROUTES else "other"
        child = self._children.get((route, status))
        if child is None:
            made = self._requests.labels(route, str(status)), self._seconds.labels(route)
            child = self._children[route, status] = made
        child[0].inc()
        child[1].observe(seconds)
        if route in EMBEDDING:
            self._answers += 1
            self._times.append(seconds)

    def prometheus(self) -> tuple[bytes, str]:
        """The service's metrics and those of HTTP, and their content type."""
        theirs, kind = self._service.prometheus()
        return theirs + generate_latest(self._registry), kind

    def health(self) -> dict[str, Any]:
        """That it lives, and what it is set to."""
        return {
            "status": "healthy",
            "service": "embedcache",
            "default_model": self._service.default_model,
            "caching_enabled": self._service.caching_enabled,
            "models_loaded": self._service.models_loaded,
            "memory_bytes": memory_bytes(),
            "uptime_seconds": round(self._clock() - self._began, 3),
        }

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Inside, a sample is taken every two seconds."""

        async def take() -> None:
            while True:
                self.sample()
                await asyncio.sleep(EVERY)

        taking = asyncio.create_task(take())
        try:
            yield
        finally:
            taking.cancel()
            with suppress(asyncio.CancelledError):
                await taking

    def sample(self) -> Sample:
        """Take one."""
        now, metrics = self._clock(), self._service.get_metrics()
        at, asked, found = self._before
        self._before = (now, metrics["total_texts"], metrics["cache_hits"])
        texts = metrics["total_texts"] - asked
        hits = metrics["cache_hits"] - found
        times = sorted(self._times)
        answers, self._answers = self._answers, 0
        self._times.clear()
        sample = Sample(
            at=now,
            answers=answers / (now - at) if now > at else 0.0,
            median=_at(times, 0.5),
            slowest=_at(times, 0.99),
            # A reset in between makes both negative.
            hit_rate=hits / texts if texts > 0 <= hits else None,
            loads=metrics["model_loads"],
            resident=len(metrics["models_loaded"]),
            memory=memory_bytes(),
            spent=float(metrics["total_cost_usd"]),
            saved=float(metrics["total_saved_usd"]),
        )
        self.samples.append(sample)
        return sample


def _at(ordered: list[float], part: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def memory_bytes() -> int:
    """Of this process, in physical memory; where only its most is known, its most."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
