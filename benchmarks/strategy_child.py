"""One process of the benchmark `strategies`: prints what it measured, as JSON.

What a preload imports would be there already if this module imported more than it does.
"""

from __future__ import annotations

import os
import time

TEXT = "A text of process {}."


def main(what: str, *arguments: str) -> None:
    found = {"ready": ready, "beside": beside}[what](*arguments)
    import json

    print(json.dumps(found))


def ready(strategy: str, model: str) -> dict[str, float]:
    """Seconds: `preload` (with the import), `metadata`, `ready`, `first` text, and all together."""
    start = time.perf_counter()
    text = TEXT.format(os.getpid())
    if strategy == "sentence-transformers":
        from sentence_transformers import SentenceTransformer

        SentenceTransformer(model, device="cpu").encode([text])
        return {"total": time.perf_counter() - start}
    import pytest_embedcache

    preloaded = pytest_embedcache.preload(model, strategy=strategy)
    returned = time.perf_counter()
    found = preloaded.wait(None)
    done = time.perf_counter()
    found.encode([text])
    encoded = time.perf_counter()
    registry = pytest_embedcache.default_registry()
    looks = []
    for _ in range(21):
        look = time.perf_counter()
        registry.metadata(model)
        looks.append(time.perf_counter() - look)
    return {
        "preload": returned - start,
        "ready": done - returned,
        "first": encoded - done,
        "total": encoded - start,
        "metadata": sorted(looks)[10],
    }


def beside(strategy: str, kind: str, seconds: str, model: str) -> dict[str, float]:
    """Seconds that a load and work beside each other take on top of the longer of the two.

    What a load takes by itself is measured in a process of its own, forked before anything is
    imported.
    """
    alone = _alone(strategy, model)
    amount = float(seconds)
    steps = _calibrated(kind, amount)
    import pytest_embedcache

    start = time.perf_counter()
    preloaded = pytest_embedcache.preload(model, strategy=strategy)
    _work(kind, amount, steps)
    preloaded.wait(None)
    together = time.perf_counter() - start
    return {"on top": together - max(alone, amount), "together": together, "alone": alone}


def _alone(strategy: str, model: str) -> float:
    read, write = os.pipe()
    if not os.fork():
        import pytest_embedcache

        start = time.perf_counter()
        pytest_embedcache.preload(model, strategy=strategy).wait(None)
        os.write(write, str(time.perf_counter() - start).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        return float(stream.read())


def _calibrated(kind: str, seconds: float) -> int:
    """Steps of work that take about that long with nothing beside."""
    if kind == "waiting":
        return 0
    step = _hash if kind == "outside the GIL" else _count
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < 0.5:
        step()
        steps += 1
    return int(steps * seconds / 0.5)


def _work(kind: str, seconds: float, steps: int) -> None:
    if kind == "waiting":
        time.sleep(seconds)
        return
    step = _hash if kind == "outside the GIL" else _count
    for _ in range(steps):
        step()


_BLOCK = bytes(2**20)


def _hash() -> None:
    import hashlib

    hashlib.sha256(_BLOCK)  # lets the GIL go


def _count() -> None:
    sum(range(20_000))
