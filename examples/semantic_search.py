#!/usr/bin/env python3
"""Semantic search: texts are found by their words while the model loads, then by their meaning.

Targets: one load for everything, and a search that needs no load in under 20 ms.
"""

from __future__ import annotations

import tempfile
import time

from scenario import Scenario, duration, run

from pytest_embedcache import default_registry, get_model
from pytest_embedcache.search import SemanticIndex

TEXTS = [
    "Refunds take five working days.",
    "The shop opens at nine.",
    "Our office dog is called Ada.",
    "Parcels are sent from Lyon.",
]
QUERY = "how do I get my money back"


def semantic_search(scenario: Scenario) -> str:
    with tempfile.TemporaryDirectory() as folder:
        model = get_model(scenario.model)
        SemanticIndex(folder).add(TEXTS, ids=["refunds", "hours", "dog", "parcels"])  # no model yet
        with SemanticIndex(folder, model) as index:
            scenario.count("entries that only their words find", index.stats().lacking, 4)
            found = index.search("when does the shop open", wait=False)
            print(f"  {found.notice}")
            print(f"  by {found.by}: {found[0].text}")
            scenario.same("the entry that the words find", found[0].id == "hours")
            scenario.count("vectors computed", index.fill(), 4)

            (found,) = index.search_as_ready(QUERY, k=1)
            print(f"  by {found.by}, {found[0].score:.2f}: {found[0].text}")
            scenario.same("what is asked for, and found", found[0].id == "refunds")

            index.update("dog", text="You are paid back within a week.")
            index.delete(["refunds"])
            found = index.search(QUERY, k=1)  # the first since then brings the index up to date
            print(f"  by {found.by}, {found[0].score:.2f}: {found[0].text}")
            scenario.same("what is asked for, and found after a change", found[0].id == "dog")
            similar = index.find_similar("dog", k=5)
            scenario.count("entries that are compared with it", len(similar), 2)

            start = time.perf_counter()
            index.search(QUERY, k=1)
            seconds = time.perf_counter() - start
    scenario.count("loads", default_registry().stats().loads, 1)
    scenario.under("a search whose query's vector is stored", seconds, 0.020)
    return f"found by word and by meaning, with one load; again in {duration(seconds)}"


if __name__ == "__main__":
    run(semantic_search, about=__doc__)
