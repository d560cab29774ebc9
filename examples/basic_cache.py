#!/usr/bin/env python3
"""Basic cache: of three consumers of one model, the first loads it, and the others have it.

Targets: the second and third access take under 10 ms, and a tenth of the first at most.
"""

from __future__ import annotations

import time

from embedding_manager import EmbeddingManager
from scenario import Scenario, duration, run

from pytest_embedcache import default_registry

TEXT = "The cat sits on the mat."


def basic_cache(scenario: Scenario) -> str:
    seconds, managers = [], []
    for number in range(1, 4):
        start = time.perf_counter()
        manager = EmbeddingManager({"model": scenario.model})
        _ = manager.model  # the access: from nothing to a model that can encode
        seconds.append(time.perf_counter() - start)
        managers.append(manager)
        print(f"  access {number}: {duration(seconds[-1])}")
    first, *others = seconds
    vectors = [manager.vector(TEXT) for manager in managers]

    scenario.count("loads", default_registry().stats().loads, 1)
    scenario.count("dimensions", len(vectors[0]), 384)
    scenario.same("the vectors of the three", len({vector.tobytes() for vector in vectors}) == 1)
    scenario.under("slower of the second and third access", max(others), 0.010)
    scenario.faster("the first against it", first, max(others), at_least=10)
    return f"three consumers, one load; {duration(first)}, then {duration(max(others))}"


if __name__ == "__main__":
    run(basic_cache, about=__doc__)
