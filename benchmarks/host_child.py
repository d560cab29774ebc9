"""What one process does with a kept host; called by the benchmark `host`."""

from __future__ import annotations

import json
import time


def main(what: str, name: str, cache: str) -> None:
    """`first`: seconds to a first vector that nobody has; `batch`: of 32 new texts."""
    start = time.perf_counter()
    import numpy  # noqa: F401 - whoever has vectors has imported it

    from pytest_embedcache import ModelRegistry, ModelSpec
    from pytest_embedcache.models.backends.remote import hosted as by_host
    from pytest_embedcache.vectors.api import cached_model
    from pytest_embedcache.vectors.cache import VectorCache

    spec = ModelSpec(name, device="cpu")
    hosted, alone = by_host(ModelRegistry(cache_dir=cache)), ModelRegistry(cache_dir=cache)
    model = cached_model(hosted, VectorCache(None), spec)
    ready = time.perf_counter()
    model.encode(f"a new text at {time.time()}")
    done = time.perf_counter()
    if what == "first":
        print(json.dumps({"first": done - ready, "with imports": done - start}))
        return
    here = cached_model(alone, VectorCache(None), spec)
    here.ensure_loaded()
    seconds: dict[str, list[float]] = {"hosted": [], "here": []}
    for number in range(30):
        for label, one in (("hosted", model), ("here", here)):
            texts = [f"new text {number} {i} for who computes it" for i in range(32)]
            begun = time.perf_counter()
            one.encode(texts)
            seconds[label].append(time.perf_counter() - begun)
    assert hosted.stats().loads == 0
    print(json.dumps({label: times[5:] for label, times in seconds.items()}))
