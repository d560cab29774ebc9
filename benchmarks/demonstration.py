"""One process of the demonstration: a model, the same texts again, a new one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from examples.real_model import MODEL
from pytest_embedcache import get_model
from pytest_embedcache.vectors.api import default_cache

__all__ = ["FIRST", "MODEL_LOAD", "NEW", "SECOND", "main", "texts"]

MODEL_LOAD, FIRST, SECOND, NEW = "loading the model", "first run", "second run", "one new text"


def texts(count: int) -> list[str]:
    """Sentences of different lengths."""
    return [
        f"Document {i} says how the {'very ' * (i % 7)}first of {count} things is done."
        for i in range(count)
    ]


def main(count: str, restarted: str) -> None:
    """Print (name, seconds, texts found, texts computed) for each step, as JSON.

    After a restart the store has the texts, and the model is loaded by the one that is new.
    """
    again = restarted == "restarted"
    listed = texts(int(count))
    model = get_model(MODEL)
    steps: dict[str, Callable[[], object]] = {}
    if not again:
        steps[MODEL_LOAD] = lambda: model.encode("something else")
    steps |= {
        FIRST: lambda: model.encode(listed),
        SECOND: lambda: model.encode(listed),
        NEW: lambda: model.encode(f"{listed[0]} This is new{' again' * again}."),
    }
    told = []
    for name, step in steps.items():
        before = _counts()
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        found, computed = (now - then for now, then in zip(_counts(), before, strict=True))
        told.append((name, seconds, found, computed))
        if again and name == SECOND and "torch" in sys.modules:
            sys.exit("torch was imported for vectors that are stored")
    print(json.dumps(told))


def _counts() -> tuple[int, int]:
    tallies = default_cache().tallies.as_dict().values()
    return (
        sum(sum(tally["found"].values()) for tally in tallies),
        sum(tally["computed"] for tally in tallies),
    )
