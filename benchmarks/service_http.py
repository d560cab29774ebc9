"""The service over HTTP, beside a minimal FastAPI app that returns a constant vector."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import Report, Samples, Target, in_turns, ratio, say
from benchmarks.http_load import all_at_once, figures, post, request, served, steady
from examples.real_model import MODEL, real_model
from pytest_embedcache.testing.fake_openai import FakeOpenAI

CLIENTS = 8
ROWS = 1000
MS = 1e3
#: Characters of a text that is embedded once: about a sentence.
TEXT = "what a cat does in the afternoon, when the sun has come round to the window, number {}"
LATENCY = 0.05
REMOTE = "text-embedding-3-small"


def run(*, quick: bool = False) -> Report:
    report = Report(
        "service_http: the service over HTTP",
        ("requests per second", "median ms", "99th percentile ms", "of the minimal app"),
    )
    with tempfile.TemporaryDirectory() as folder, real_model():
        say("starting a minimal FastAPI app and the service")
        command = ("-m", "pytest_embedcache", "serve", "--port", "0", "--dir", folder)
        with (
            served("-m", "benchmarks.minimal_app") as minimal,
            served(*command, EMBEDCACHE_MODEL=MODEL) as port,
        ):
            _singles(report, minimal, port, quick)
            _batch(report, port, quick)
            _identical(report, port, 10 if quick else 100)
            _different(report, port, 40 if quick else 800)
        _remote(report, Path(folder, "remote"), quick)
    report.notes.append(
        f"server and client on one machine, {CLIENTS} connections that are kept; the minimal app "
        "returns a constant vector of 384 components: as a dictionary, as people write it, and as "
        "bytes that are ready"
    )
    return report


def _singles(report: Report, minimal: int, port: int, quick: bool) -> None:
    """A cached single text, in turns with the minimal app."""
    body = json.dumps({"text": TEXT.format("one")}).encode()
    places = {
        "minimal app, a dictionary": (minimal, "/embed/text"),
        "minimal app, ready bytes": (minimal, "/ready"),
        "cached text": (port, "/embed/text"),
        "cached text, OpenAI's route": (port, "/v1/embeddings"),
    }
    openai = json.dumps({"input": TEXT.format("one"), "model": MODEL}).encode()
    asked = {name: request(path, body) for name, (_, path) in places.items()}
    asked["cached text, OpenAI's route"] = request("/v1/embeddings", openai)
    times: dict[str, list[float]] = {name: [] for name in places}

    def case(name: str) -> Callable[[], float]:
        def one() -> float:
            answers = steady(
                places[name][0], asked[name], clients=CLIENTS, seconds=0.2 if quick else 2.0
            )
            times[name] += answers.seconds
            return len(answers.seconds) / answers.whole

        return one

    cases = {name: case(name) for name in places}
    for one in cases.values():  # loads the model
        one()
    for found in times.values():
        found.clear()
    rates = in_turns(cases, 2 if quick else 15, progress=say)
    _singles_in(report, rates, times)


def _singles_in(report: Report, rates: Samples, times: dict[str, list[float]]) -> None:
    plain, ready = "minimal app, a dictionary", "minimal app, ready bytes"
    for name, found in rates.items():
        ordered = sorted(times[name])
        compared, low, high = ratio(found, rates[plain])
        report.row(
            name,
            f"{statistics.median(found):,.0f}",
            f"{statistics.median(ordered) * MS:.2f}",
            f"{ordered[int(0.99 * len(ordered))] * MS:.2f}",
            f"{compared:.2f} x ({low:.2f} to {high:.2f})",
        )
    for against in (plain, ready):
        compared, low, high = ratio(rates["cached text"], rates[against])
        report.targets.append(
            Target(
                f"cached text, requests per second of the {against}",
                *(0.5, compared, "x"),
                at_least=True,
                interval=(low, high),
            )
        )
    median = statistics.median(times["cached text"]) * MS
    report.targets.append(Target(f"cached text, median at {CLIENTS} clients", 3.0, median, "ms"))


def _batch(report: Report, port: int, quick: bool) -> None:
    """A cached batch of 1,000 texts."""
    body = json.dumps({"texts": [TEXT.format(n) for n in range(ROWS)]}).encode()
    post(port, "/embed/raw", body)
    cases = {"raw": "/embed/raw", "JSON": "/embed/batch"}
    found: dict[str, bytes] = {}

    def case(name: str) -> Callable[[], float]:
        content = request(cases[name], body)

        def one() -> float:
            answer = all_at_once(port, [content])
            found[name] = answer.bodies[0]
            return answer.seconds[0]

        return one

    samples = in_turns({name: case(name) for name in cases}, 3 if quick else 41)
    rows = np.frombuffer(found["raw"], "<f4").reshape(ROWS, -1)
    same = np.array_equal(rows, np.array(json.loads(found["JSON"])["embeddings"], np.float32))
    for name, seconds in samples.items():
        report.row(
            f"{ROWS:,} cached texts, {name}",
            f"{1 / statistics.median(seconds):,.0f}",
            f"{statistics.median(seconds) * MS:.1f}",
            f"{max(seconds) * MS:.1f}",
            f"{len(found[name]) / 2**20:.1f} MiB",
        )
    report.targets += [
        Target(
            f"cached batch of {ROWS:,}, raw", 15.0, statistics.median(samples["raw"]) * MS, "ms"
        ),
        Target("rows of raw and JSON that differ", 0.0, 0.0 if same else 1.0, "batches"),
    ]


def _identical(report: Report, port: int, many: int) -> None:
    """The same new text, asked for by all at once."""
    before = figures(port)
    body = request("/embed/text", json.dumps({"text": f"nobody asked {time.time()}"}).encode())
    answers = all_at_once(port, [body] * many)
    vectors = {tuple(json.loads(found)["embedding"]) for found in answers.bodies.values()}
    key = "total_embeddings_generated"
    computed = figures(port)[key] - before[key]
    report.targets += [
        Target(f"{many} identical cold requests, texts encoded", 1.0, computed, "texts"),
        Target("their different vectors", 1.0, len(vectors), "vectors"),
    ]


def _different(report: Report, port: int, many: int) -> None:
    """New texts, one a request and all in flight, against one call with as many others."""

    def texts() -> list[str]:
        nonlocal number
        number += 1
        return [TEXT.format(f"{i} of {number} at {time.time()}") for i in range(many)]

    def one_call() -> float:
        body = json.dumps({"texts": texts(), "batch_size": 32}).encode()
        return all_at_once(port, [request("/embed/raw", body)]).whole

    def in_flight() -> float:
        bodies = [request("/embed/text", json.dumps({"text": t}).encode()) for t in texts()]
        return all_at_once(port, bodies).whole

    number = 0
    cases = {"one call": one_call, "in flight": in_flight}
    for case in cases.values():
        case()
    samples = in_turns(cases, 2 if many < 100 else 7, progress=say)
    compared, low, high = ratio(samples["one call"], samples["in flight"])
    report.targets.append(
        Target(
            f"{many} different cold requests in flight, throughput of one call with {many}",
            *(0.8, compared, "x"),
            at_least=True,
            interval=(low, high),
        )
    )


def _remote(report: Report, directory: Path, quick: bool) -> None:
    """A batch of 10 against ten single calls, with a provider that takes 50 ms."""
    fake = FakeOpenAI()
    fake.delay = LATENCY
    command = ("-m", "pytest_embedcache", "serve", "--port", "0", "--dir", str(directory))
    changes = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": fake.api_key}
    try:
        with served(*command, EMBEDCACHE_MODEL=REMOTE, **changes) as port:
            number = 0

            def texts() -> list[str]:
                nonlocal number
                number += 1
                return [TEXT.format(f"{i} of {number}") for i in range(10)]

            def batch() -> float:
                body = json.dumps({"texts": texts()}).encode()
                return all_at_once(port, [request("/embed/raw", body)]).whole

            def singles() -> float:
                bodies = [request("/embed/text", json.dumps({"text": t}).encode()) for t in texts()]
                return sum(all_at_once(port, [body]).whole for body in bodies)

            cases = {"batch": batch, "singles": singles}
            for case in cases.values():
                case()
            samples = in_turns(cases, 2 if quick else 11)
    finally:
        fake.close()
    compared, low, high = ratio(samples["singles"], samples["batch"])
    report.targets.append(
        Target(
            "a batch of 10 against ten single calls, remote with 50 ms",
            *(5.0, compared, "x"),
            at_least=True,
            interval=(low, high),
        )
    )
