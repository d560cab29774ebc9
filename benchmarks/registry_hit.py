"""A hit: what asking for a loaded model costs, beside what people write for it."""

from __future__ import annotations

import functools
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.harness import Report, Target, in_turns, per_call, ratio
from examples.real_model import MODEL, real_model
from pytest_embedcache import ModelRegistry, ModelSpec, get_model
from pytest_embedcache.testing.fakes import (
    FakeBackend,
    FakeSentenceTransformer,
    FakeSentenceTransformers,
)
from pytest_embedcache.vectors.api import StoreSettings, open_cache, swap_default_cache

CALLS = 20_000
US = 1e6


@contextmanager
def _own_store(folder: str) -> Iterator[None]:
    """Leave no trace of the measuring in the user's store."""
    cache = open_cache(StoreSettings(directory=folder))
    before = swap_default_cache(cache)
    try:
        yield
    finally:
        swap_default_cache(before)
        cache.close()


def run(*, quick: bool = False) -> Report:
    fakes = FakeSentenceTransformers()
    backend = FakeBackend(type("Fake", (FakeSentenceTransformer,), {"fakes": fakes}), fakes)
    spec = ModelSpec(MODEL, device="cpu")
    model = object()

    @functools.lru_cache
    def load_cached(name: str, device: str) -> Any:
        return model

    kept: dict[tuple[str, str], Any] = {}
    lock = threading.Lock()

    def load_locked(name: str, device: str) -> Any:
        with lock:
            key = (name, device)
            if key not in kept:
                kept[key] = model
            return kept[key]

    with tempfile.TemporaryDirectory() as folder, real_model(), _own_store(folder):
        registry = ModelRegistry(cache_dir=folder, backends={"torch": backend, "fake": backend})
        registry.get(spec)
        actions = {
            "ModelRegistry.get(spec)": lambda: registry.get(spec),
            "get_model(name)": lambda: get_model(MODEL),
            "functools.lru_cache'd loader": lambda: load_cached(MODEL, "cpu"),
            "dictionary and lock": lambda: load_locked(MODEL, "cpu"),
        }
        for action in actions.values():
            action()
        rounds, calls = (3, 200) if quick else (41, CALLS)
        samples = in_turns(
            {name: functools.partial(per_call, action, calls) for name, action in actions.items()},
            rounds,
        )
    report = Report(
        "registry_hit: asking for a model that is loaded",
        ("µs per call (median)", "of a dictionary and lock", "95 % interval"),
    )
    for name in actions:
        times, low, high = ratio(samples[name], samples["dictionary and lock"])
        report.row(
            name,
            f"{statistics.median(samples[name]) * US:.3f}",
            f"{times:.2f} x",
            f"{low:.2f} to {high:.2f}",
        )
    for name, limit in (("ModelRegistry.get(spec)", 1.0), ("get_model(name)", 3.0)):
        found = statistics.median(samples[name]) * US
        report.targets.append(Target(name, limit, found, "µs"))
    report.notes.append(
        f"{rounds} rounds in turns, {calls:,} calls each; what calling any function costs is taken "
        "off. A registry's hit takes no lock, and is counted; lru_cache lets two threads that come "
        "first both load."
    )
    return report
