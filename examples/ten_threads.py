#!/usr/bin/env python3
"""Ten threads: all ask for a model at once that nobody has loaded yet.

Targets: one load, and ten vectors of 384 dimensions.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from embedding_manager import EmbeddingManager
from scenario import Scenario, duration, run

from pytest_embedcache import default_registry

THREADS = 10


def ten_threads(scenario: Scenario) -> str:
    ready = threading.Barrier(THREADS)

    def consume(number: int) -> tuple[EmbeddingManager, int]:
        manager = EmbeddingManager({"model": scenario.model})
        ready.wait()
        return manager, len(manager.vector(f"The text of thread {number}."))

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        managers, dimensions = zip(*pool.map(consume, range(THREADS)), strict=True)
    print(f"  ten first vectors: {duration(time.perf_counter() - start)}")

    scenario.count("loads", default_registry().stats().loads, 1)
    scenario.count("different models", len({id(manager.model) for manager in managers}), 1)
    scenario.count("vectors of 384 dimensions", dimensions.count(384), THREADS)
    return "ten threads, one load, ten vectors of 384 dimensions"


if __name__ == "__main__":
    run(ten_threads, about=__doc__)
