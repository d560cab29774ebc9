"""The service under mixed load for minutes: nothing fails, no row is wrong, memory stays flat."""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks.harness import Report, Target, say
from benchmarks.http_load import figures, post, served
from examples.real_model import MODEL, real_model

MINUTES = 10.0
CLIENTS = 6
#: Texts that are asked for again and again, of which each client knows the vector.
KNOWN = 400
#: So small that it is full soon: what grows after that is not the cache.
TIER = 8 * 2**20
MIB = 2**20
#: Growth of the last half over the first, beyond which memory is not flat.
FLAT = 0.03


@dataclass
class Seen:
    """What the clients saw; each appends to it, and reads nothing."""

    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)


def run(*, quick: bool = False, minutes: float = MINUTES) -> Report:
    minutes = 0.15 if quick else minutes
    report = Report(f"soak: {minutes:g} minutes of mixed load", ("requests", "a second"))
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder, real_model():
        command = ("-m", "pytest_embedcache", "serve", "--port", "0", "--dir", folder)
        bounds = {
            "EMBEDCACHE_MEMORY_MAX_SIZE": str(TIER),
            "EMBEDCACHE_CACHE_MAX_SIZE": str(4 * TIER),
        }
        with served(*command, EMBEDCACHE_MODEL=MODEL, **bounds) as port:
            known = _known(port)
            end = time.monotonic() + 60 * minutes
            threads = [
                threading.Thread(target=_client, args=(port, number, known, end, seen))
                for number in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            _watch(port, end, seen)
            for thread in threads:
                thread.join()
            metrics = figures(port)
    for kind in sorted(set(seen.requests)):
        count = seen.requests.count(kind)
        report.row(kind, f"{count:,}", f"{count / (60 * minutes):.1f}")
    _judge(report, seen)
    report.notes.append(
        f"{metrics['total_texts']:,} texts, {metrics['total_embeddings_generated']:,} of them "
        f"computed; {CLIENTS} clients; memory and SQLite tiers are held to "
        f"{TIER / MIB:g} and {4 * TIER / MIB:g} MiB, which new texts fill"
    )
    return report


def _known(port: int) -> dict[str, np.ndarray]:
    """The texts that are asked for again, and their vectors: those that were stored first win."""
    texts = [f"a text that is asked for again, number {n}" for n in range(KNOWN)]
    raw = post(port, "/embed/raw", json.dumps({"texts": texts}).encode())
    return dict(zip(texts, np.frombuffer(raw, "<f4").reshape(KNOWN, -1), strict=True))


def _client(port: int, number: int, known: dict[str, np.ndarray], end: float, seen: Seen) -> None:
    draw = random.Random(number)
    for kind, path, body, texts in _requests(draw, number, list(known)):
        if time.monotonic() > end:
            return
        try:
            answer = post(port, path, json.dumps(body).encode())
        except (OSError, RuntimeError) as error:
            seen.failed.append(f"{path}: {error}")
            continue
        seen.requests.append(kind)
        rows = _rows(path, answer, len(texts))
        for text, row in zip(texts, rows, strict=True):
            if text in known and not np.allclose(row, known[text], atol=1e-5):
                seen.wrong.append(text)


def _requests(
    draw: random.Random, number: int, known: list[str]
) -> Iterator[tuple[str, str, dict[str, object], list[str]]]:
    """Kind, path, body and texts of one request after the other."""
    count = 0
    while True:
        count += 1
        kind = draw.choices(("hit", "new", "batch", "raw", "openai"), (60, 10, 10, 10, 10))[0]
        fresh = f"a new text, the {count}th of client {number}, {draw.random()}"
        if kind == "hit":
            text = draw.choice(known)
            yield kind, "/embed/text", {"text": text}, [text]
        elif kind == "new":
            yield kind, "/embed/text", {"text": fresh}, [fresh]
        else:
            texts = [*draw.sample(known, draw.randint(1, 60)), fresh]
            draw.shuffle(texts)
            if kind == "openai":
                yield kind, "/v1/embeddings", {"input": texts, "model": MODEL}, texts
            else:
                path = "/embed/raw" if kind == "raw" else "/embed/batch"
                yield kind, path, {"texts": texts}, texts


def _rows(path: str, answer: bytes, count: int) -> np.ndarray:
    if path == "/embed/raw":
        return np.frombuffer(answer, "<f4").reshape(count, -1)
    found = json.loads(answer)
    if path == "/embed/text":
        return np.array([found["embedding"]], np.float32)
    if path == "/embed/batch":
        return np.array(found["embeddings"], np.float32)
    return np.array([row["embedding"] for row in found["data"]], np.float32)


def _watch(port: int, end: float, seen: Seen) -> None:
    """The server's memory, twice a second, as it says itself."""
    start = said = time.monotonic()
    while (now := time.monotonic()) < end:
        health = json.loads(post(port, "/embed/health", method="GET"))
        seen.memory.append((now - start, health["memory_bytes"]))
        if now - said > 30:
            said = now
            say(f"{now - start:.0f} s: {health['memory_bytes'] / MIB:.0f} MiB")
        time.sleep(0.5)


def _judge(report: Report, seen: Seen) -> None:
    whole = seen.memory[-1][0]
    # The first fifth loads the model and fills the tiers.
    first = [size for at, size in seen.memory if 0.2 * whole <= at < 0.6 * whole]
    last = [size for at, size in seen.memory if at >= 0.6 * whole]
    growth = float(np.median(last) / np.median(first)) - 1
    report.row("memory, MiB", f"{np.median(last) / MIB:.0f}", f"{max(last) / MIB:.0f} at most")
    report.targets += [
        Target("requests that failed", 0.0, len(seen.failed), "requests"),
        Target("rows that are another text's", 0.0, len(seen.wrong), "rows"),
        Target(
            "growth of memory, the last two fifths over those before", 100 * FLAT, 100 * growth, "%"
        ),
    ]
    report.notes += seen.failed[:3]
