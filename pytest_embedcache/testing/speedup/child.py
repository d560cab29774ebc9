"""A fresh interpreter that loads a model: `python -m pytest_embedcache.testing.speedup.child`.

Its argument is JSON: `directory`, and the fields of a `ModelSpec`. It prints JSON: the seconds of
each stage, and how often the model was loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

__all__ = ["TEXT", "run_child"]

TEXT = "The quick brown fox jumps over the lazy dog."
#: Of the warm vector, which takes microseconds.
_REPEATED = 50


def run_child(spec: dict[str, Any], directory: str | None) -> dict[str, Any]:
    """What such an interpreter prints. `spec` has a `ModelSpec`'s fields, as JSON.

    Raises `RuntimeError` with the last line that it wrote to standard error, if it fails.
    """
    request = json.dumps({"spec": spec, "directory": directory})
    ran = subprocess.run(
        [sys.executable, "-m", __name__, request], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"status {ran.returncode}"]
        raise RuntimeError(f"a fresh interpreter could not load the model: {said[-1]}")
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _main(request: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.spec import ModelSpec
    from pytest_embedcache.testing.speedup.loads import memory_cache
    from pytest_embedcache.vectors.api import cached_model

    ours = time.perf_counter() - started
    registry = ModelRegistry(cache_dir=request["directory"])
    spec = ModelSpec(**request["spec"])
    begun = time.perf_counter()
    registry.get(spec)
    loaded = time.perf_counter() - begun
    model = cached_model(registry, memory_cache(), spec)
    begun = time.perf_counter()
    model.encode([TEXT])
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in range(_REPEATED):
        model.encode([TEXT])
    warm = (time.perf_counter() - begun) / _REPEATED
    (stats,) = registry.stats().models
    return {
        "name": stats.name,
        "loads": stats.loads,
        "import": ours + stats.import_seconds,
        "load": loaded - stats.import_seconds,
        "first vector": first,
        "warm vector": warm,
    }


if __name__ == "__main__":
    print(json.dumps(_main(json.loads(sys.argv[1]))))
