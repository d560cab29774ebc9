"""The service's counts for people, and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import MissingExtraError
from pytest_embedcache.service.caches import redis_memory
from pytest_embedcache.service.counts import Histogram, Line
from pytest_embedcache.service.pricing import add_costs

if TYPE_CHECKING:
    from pytest_embedcache.service.calls import Calls
    from pytest_embedcache.vectors.tiered import TierStats

__all__ = ["exposition", "summary"]

#: Of every line: name -> help; a counter of what `Line` calls it in the third column.
_COUNTERS = (
    ("requests", "Calls that have ended", "requests"),
    ("request_errors", "Calls that ended with an error", "errors"),
    ("texts", "Texts in calls that had a result", "texts"),
    ("texts_cached", "Texts for which nothing was sent to a model", "cached"),
    ("embeddings", "Texts that went to a model", "encoded"),
    ("tokens_sent", "Tokens of texts that went to a model", "tokens_sent"),
    ("tokens_estimated", "Tokens sent that no provider has counted", "estimated"),
    ("tokens_unpriced", "Tokens sent at a price that is not known", "unpriced"),
    ("tokens_saved", "Tokens that did not have to be sent, estimated", "tokens_saved"),
    ("cost_spent_usd", "US dollars for what was sent, where the price is known", "spent"),
    ("cost_saved_usd", "US dollars for what did not have to be sent, estimated", "saved"),
)
_HISTOGRAMS = (
    ("request_seconds", "From the arrival of a call to its result", "seconds"),
    ("encode_seconds", "A batch in the model", "encode_seconds"),
    ("batch_texts", "Texts that were encoded together", "batches"),
)
_LABELS = ("model", "provider", "role")


def summary(calls: Calls) -> dict[str, Any]:
    """What `EmbedderService.get_metrics` returns."""
    lines = calls.counts.lines()
    total = _total(list(lines.values()))
    return {
        **total,
        "models_loaded": calls.models.loaded(),
        # Two names may be one model.
        "model_loads": sum(one.loads for one in set(calls.models.counts().values())),
        "queued": calls.models.queued,
        "models": {
            name: _total([line for (model, _), line in lines.items() if model == name])
            for name in sorted({model for model, _ in lines})
        },
        "tiers": [tier.as_dict() for tier in _tiers(calls)],
    }


def _total(lines: list[Line]) -> dict[str, Any]:
    texts, cached = sum(line.texts for line in lines), sum(line.cached for line in lines)
    spent = saved = Decimal(0)
    for line in lines:
        spent, saved = add_costs(spent, line.spent), add_costs(saved, line.saved)
    return {
        "total_requests": sum(line.requests for line in lines),
        "total_errors": sum(line.errors for line in lines),
        "total_texts": texts,
        "total_embeddings_generated": sum(line.encoded for line in lines),
        "cache_hits": cached,
        "cache_hit_rate": cached / texts if texts else None,
        "total_tokens": sum(line.tokens_sent for line in lines),
        "estimated_tokens": sum(line.estimated for line in lines),
        "unpriced_tokens": sum(line.unpriced for line in lines),
        "total_cost_usd": spent,
        "saved_tokens": sum(line.tokens_saved for line in lines),
        "total_saved_usd": saved,
    }


def _tiers(calls: Calls) -> list[TierStats]:
    store = calls.cache.store
    return [] if store is None else store.tier_stats()


def exposition(calls: Calls) -> tuple[bytes, str]:
    """The metrics in Prometheus's text format, and its content type.

    Raises `MissingExtraError` where prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise MissingExtraError("metrics for Prometheus", "prometheus-client", "serve") from error
    # Of its own: what else the process has told Prometheus is not the service's to tell.
    registry = CollectorRegistry()
    registry.register(_Collector(calls))
    text: bytes = generate_latest(registry)
    return text, CONTENT_TYPE_LATEST


class _Collector:
    """Reads the counts when Prometheus asks: nothing is counted twice."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def describe(self) -> list[Any]:
        """None in advance: a registry would else collect them once to know their names."""
        return []

    def collect(self) -> Iterator[Any]:
        """All metrics, as they are now."""
        yield from self._of_lines()
        yield from self._of_models()
        yield from self._of_tiers()

    def _of_lines(self) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        lines = self._calls.counts.lines()
        labelled = [
            ((model, self._calls.table[model].provider, role), line)
            for (model, role), line in sorted(lines.items())
        ]
        for name, text, field in _COUNTERS:
            counter = CounterMetricFamily(f"embedcache_{name}", text, labels=_LABELS)
            for labels, line in labelled:
                counter.add_metric(labels, float(getattr(line, field)))
            yield counter
        ratio = GaugeMetricFamily(
            "embedcache_cache_hit_ratio", "Of all texts, those not sent", labels=_LABELS
        )
        for labels, line in labelled:
            if line.texts:
                ratio.add_metric(labels, line.cached / line.texts)
        yield ratio
        for name, text, field in _HISTOGRAMS:
            family = HistogramMetricFamily(f"embedcache_{name}", text, labels=_LABELS)
            for labels, line in labelled:
                histogram: Histogram = getattr(line, field)
                family.add_metric(labels, buckets=_buckets(histogram), sum_value=histogram.total)
            yield family

    def _of_models(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        names = ("model", "provider")
        resident = GaugeMetricFamily("embedcache_models_resident", "In memory", labels=names)
        queue = GaugeMetricFamily("embedcache_queue_texts", "Waiting to be encoded", labels=names)
        loads = CounterMetricFamily("embedcache_model_loads", "Loads", labels=names)
        unloads = CounterMetricFamily("embedcache_model_unloads", "Unloads", labels=names)
        seconds = CounterMetricFamily(
            "embedcache_model_load_seconds", "Seconds of all loads", labels=names
        )
        counts = self._calls.models.counts()
        for served in self._calls.models.all():
            labels = (served.row.name, served.row.provider)
            resident.add_metric(labels, float(served.model.is_loaded))
            queue.add_metric(labels, served.queued)
            if (known := counts.get(served.row.name)) is not None:
                loads.add_metric(labels, known.loads)
                unloads.add_metric(labels, known.unloads)
                seconds.add_metric(labels, known.load_seconds)
        yield from (resident, queue, loads, unloads, seconds)

    def _of_tiers(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        tiers = _tiers(self._calls)
        for name, text in (
            ("hits", "Vectors found in this tier, and in none above"),
            ("misses", "Vectors asked for in this tier and not found"),
            ("errors", "Calls of this tier that failed"),
            ("skipped", "Calls that were not made, because one had failed shortly before"),
        ):
            counter = CounterMetricFamily(f"embedcache_tier_{name}", text, labels=["tier"])
            for tier in tiers:
                counter.add_metric([tier.name], getattr(tier, name))
            yield counter
        down = GaugeMetricFamily("embedcache_tier_down", "1 while it is away", labels=["tier"])
        for tier in tiers:
            down.add_metric([tier.name], float(tier.down))
        yield down
        memory = GaugeMetricFamily("embedcache_redis_memory_bytes", "Used by the Redis server")
        if (used := redis_memory(self._calls.cache)) is not None:
            memory.add_metric([], used)
        yield memory


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    found, total = [], 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        total += count
        found.append(("+Inf" if bound == float("inf") else f"{bound:g}", float(total)))
    return found
