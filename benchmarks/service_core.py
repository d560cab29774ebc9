"""`EmbedderService` from Python: texts in flight, the event loop beside the model, a remote."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from benchmarks.harness import Report, Target, difference, in_turns, ratio, say, seconds_of
from benchmarks.own_cache import own_cache
from examples.real_model import real_model
from pytest_embedcache import EmbedderService, get_model
from pytest_embedcache.testing.fake_openai import fake_openai

MODEL = "all-MiniLM-L6-v2"
REMOTE = "text-embedding-3-small"
IN_FLIGHT = 800
IDENTICAL = 100
#: Seconds between two ticks, and of one answer of the remote.
TICK = 0.005
LATENCY = 0.05
MS = 1e3

_numbers = count()
_SENTENCE = "a cat sat on the mat while quarterly revenue of the northern region grew by half"
_WORDS = _SENTENCE.split()


def new_texts(many: int) -> list[str]:
    """Texts that nobody has seen, of 2 to 17 words."""
    numbers = [next(_numbers) for _ in range(many)]
    return [f"{n} {' '.join(_WORDS[: 1 + n % len(_WORDS)])}" for n in numbers]


def run(*, quick: bool = False) -> Report:
    rounds = 2 if quick else 9
    report = Report(
        "service_core: the service from Python, with the real model",
        ("median", "beside it", "ratio"),
    )
    with tempfile.TemporaryDirectory() as folder, real_model(), own_cache(folder):
        with EmbedderService(MODEL) as service:
            say("loading the model")
            service.sync.embed_text("a cat")
            bare = get_model(MODEL).unwrap(copy=True)
            _identical(report, service)
            _in_flight(report, service, bare, rounds)
            _ticking(report, service, rounds)
        _remote(report, rounds)
    return report


def _identical(report: Report, service: EmbedderService) -> None:
    (text,) = new_texts(1)
    before = service.get_metrics()["total_embeddings_generated"]
    asyncio.run(_all(service.embed_text(text) for _ in range(IDENTICAL)))
    made = service.get_metrics()["total_embeddings_generated"] - before
    report.row(f"{IDENTICAL} identical cold requests", f"{made} encoded", "", "")
    report.targets.append(
        Target(f"encoded, of {IDENTICAL} identical requests at once", 1, made, "texts")
    )


async def _all(calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls))


def _in_flight(report: Report, service: EmbedderService, bare: Any, rounds: int) -> None:
    def at_once() -> float:
        texts = new_texts(IN_FLIGHT)
        return seconds_of(lambda: asyncio.run(_all(service.embed_text(text) for text in texts)))

    def one_call() -> float:
        texts = new_texts(IN_FLIGHT)
        return seconds_of(lambda: bare.encode(texts))

    found = in_turns({"service": at_once, "encode": one_call}, rounds, progress=say)
    times, low, high = ratio(found["encode"], found["service"])
    ours, theirs = (statistics.median(found[name]) for name in ("service", "encode"))
    report.row(
        f"{IN_FLIGHT} different texts in flight, and one encode()",
        f"{IN_FLIGHT / ours:,.0f} texts/s",
        f"{IN_FLIGHT / theirs:,.0f} texts/s",
        f"{times:.2f}",
    )
    report.targets.append(
        Target(
            f"throughput of {IN_FLIGHT} texts in flight",
            0.8,
            times,
            "of one encode()",
            at_least=True,
            interval=(low, high),
        )
    )


def _ticking(report: Report, service: EmbedderService, rounds: int) -> None:
    """The 99th percentile of how late a tick comes, in the same loop, with and without a model."""

    def beside(work: Callable[[], Coroutine[Any, Any, Any]]) -> float:
        async def measured() -> float:
            late: list[float] = []
            working = asyncio.ensure_future(work())
            while not working.done():
                begun = time.perf_counter()
                await asyncio.sleep(TICK)
                late.append(time.perf_counter() - begun - TICK)
            await working
            return statistics.quantiles(late, n=100)[98]

        return asyncio.run(measured())

    async def encoding() -> None:
        await _all(service.embed_text(text) for text in new_texts(IN_FLIGHT))

    cases = {
        "with": lambda: beside(encoding),
        "without": lambda: beside(lambda: asyncio.sleep(1.0)),
    }
    found = in_turns(cases, rounds, progress=say)
    more, low, high = difference(found["with"], found["without"])
    with_model, without = (statistics.median(found[name]) for name in ("with", "without"))
    report.row(
        "a ticker on the loop while the model encodes, 99th percentile",
        f"{with_model * MS:.1f} ms late",
        f"{without * MS:.1f} ms late",
        "",
    )
    report.targets.append(
        Target(
            "a ticker is later while the model encodes, 99th percentile",
            20,
            more * MS,
            "ms",
            interval=(low * MS, high * MS),
        )
    )


def _remote(report: Report, rounds: int) -> None:
    with fake_openai() as fake, EmbedderService(REMOTE) as service:
        fake.delay = LATENCY
        service.sync.embed_text("a cat")

        def singly() -> float:
            texts = new_texts(10)
            return seconds_of(lambda: [service.sync.embed_text(text) for text in texts])

        def batch() -> float:
            texts = new_texts(10)
            return seconds_of(lambda: service.sync.embed_batch(texts))

        found = in_turns({"singly": singly, "batch": batch}, rounds, progress=say)
    times, low, high = ratio(found["singly"], found["batch"])
    ten, one = (statistics.median(found[name]) for name in ("batch", "singly"))
    report.row(
        f"a batch of 10, and ten single calls; a remote with {LATENCY * MS:.0f} ms",
        f"{ten * MS:.0f} ms",
        f"{one * MS:.0f} ms",
        f"{times:.1f}",
    )
    report.targets.append(
        Target(
            "a batch of 10 against ten single calls",
            5,
            times,
            "times faster",
            at_least=True,
            interval=(low, high),
        )
    )
    report.notes.append(
        f"{rounds} rounds in turns, one process; texts of 2 to 17 words that nobody has seen. The "
        "service stores what it encodes, one encode() of the bare model does not."
    )
