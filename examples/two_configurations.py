#!/usr/bin/env python3
"""Two configurations: consumers of two models take turns, and each model is loaded once.

Targets: 384 and 768 dimensions, two loads, and nothing loaded on the way back.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from embedding_manager import EmbeddingManager
from random_model import build_mpnet_shaped
from scenario import Scenario, duration, run

from pytest_embedcache import ModelSpec, default_registry

TURNS = 3


def two_configurations(scenario: Scenario) -> str:
    if scenario.options.second:
        return _take_turns(scenario, [scenario.model, scenario.options.second])
    with tempfile.TemporaryDirectory(prefix="embedcache-example-") as folder:
        print("  second model: all-mpnet-base-v2's shape, RANDOM weights (being built)")
        first = default_registry().resolve(ModelSpec(scenario.model, device="cpu"))
        second = build_mpnet_shaped(Path(folder, "mpnet-shaped"), Path(first.path or ""))
        return _take_turns(scenario, [scenario.model, str(second)])


def _take_turns(scenario: Scenario, models: list[str]) -> str:
    dimensions, returns = [], []
    for turn in range(TURNS):
        for model in models:
            start = time.perf_counter()
            manager = EmbeddingManager({"model": model})
            _ = manager.model
            seconds = time.perf_counter() - start
            dimensions.append(len(manager.vector("The cat sits on the mat.")))
            if turn:
                returns.append(seconds)
            else:
                print(f"  {dimensions[-1]} dimensions, first access: {duration(seconds)}")
    print(f"  the slowest of {len(returns)} later accesses: {duration(max(returns))}")

    stats = default_registry().stats()
    scenario.count("loads", stats.loads, 2)
    scenario.count("loads of the model that was loaded most", max(m.loads for m in stats.models), 1)
    scenario.count("vectors of 384 dimensions", dimensions.count(384), TURNS)
    scenario.count("vectors of 768 dimensions", dimensions.count(768), TURNS)
    return "two configurations, two loads, 384 and 768 dimensions"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--second",
        metavar="MODEL",
        help="another model, of 768 dimensions (default: one with random weights is built)",
    )


if __name__ == "__main__":
    run(two_configurations, about=__doc__, arguments=_arguments)
