#!/usr/bin/env python3
"""Twenty consumers: a production-like sequence, in which each part of a service wants the model.

Target: together they have it in under a second. In the report that this scenario comes from, twenty
loads took 8 s; here the same twenty loads are made and timed beside it. What both pay once, the
import of torch, is in neither.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from embedding_manager import EmbeddingManager
from scenario import Scenario, duration, run

from pytest_embedcache import ModelRegistry, ModelSpec

#: Who asks, in the order in which a service comes to life.
CONSUMERS = [
    "health check at start",
    *(f"import of documents, batch {batch}" for batch in range(1, 6)),
    "index check",
    *(f"search request {number}" for number in range(1, 7)),
    "duplicate check",
    "memory of the conversation",
    *(f"search request {number}" for number in range(7, 10)),
    "nightly summary",
    "health check at night",
]


def twenty_consumers(scenario: Scenario) -> str:
    registry = ModelRegistry()
    spec = registry.resolve(ModelSpec(scenario.model, device="cpu"))
    import sentence_transformers

    gc.freeze()  # what was imported stays: no collection below has to walk over it

    def load() -> Any:
        return sentence_transformers.SentenceTransformer(spec.path, device="cpu")

    def ask() -> Any:
        return EmbeddingManager({"model": scenario.model}, registry=registry).model

    naive = _sequence(load)
    print(f"  each loads its own: {duration(naive)} for {len(CONSUMERS)} loads")
    shared = _sequence(ask)
    scenario.count("consumers", len(CONSUMERS), 20)
    scenario.count("loads", registry.stats().loads, 1)
    scenario.under("all of them, through the registry", shared, 1.0)
    scenario.faster("twenty loads against that", naive, shared, at_least=1)
    return f"twenty consumers, one load; {duration(shared)} instead of {duration(naive)}"


def _sequence(get: Callable[[], Any]) -> float:
    """Seconds that the consumers wait for the model, all together."""
    waited = 0.0
    for who in CONSUMERS:
        start = time.perf_counter()
        model = get()
        waited += time.perf_counter() - start
        model.encode(f"This is the {who}.", show_progress_bar=False)
        del model
        gc.collect()  # a model that nobody keeps: twenty at once are 2 GB
    return waited


if __name__ == "__main__":
    run(twenty_consumers, about=__doc__)
