"""A fresh interpreter that loads a model: `python -m pytest_embedcache.testing.speedup.child`.

Its argument is JSON: `directory`, and the fields of a `ModelSpec`. It prints JSON: the seconds of
each stage, and how often the model was loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import ModelLoadError

if TYPE_CHECKING:
    from pytest_embedcache.spec import ModelSpec

__all__ = ["STAGES", "TEXT", "main", "run_child"]

#: The keys of its seconds, in their order.
STAGES = ("import", "load", "first vector", "warm vector")
#: What is called with the request; the tests have a model of their own.
COMMAND = (sys.executable, "-m", __name__)

TEXT = "The quick brown fox jumps over the lazy dog."
#: Of the warm vector, which takes microseconds.
_REPEATED = 50


def run_child(spec: ModelSpec, directory: str | None) -> dict[str, Any]:
    """What such an interpreter prints. A token it reads where this one did.

    Raises `ModelLoadError` with the last line that it wrote to standard error, if it fails.
    """
    told = ("revision", "backend", "form", "device", "dtype", "trust_remote_code", "cache_folder")
    fields = {"name": spec.name, **{name: getattr(spec, name) for name in told}}
    request = json.dumps({"spec": fields, "directory": directory})
    ran = subprocess.run([*COMMAND, request], capture_output=True, text=True, check=False)
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"status {ran.returncode}"]
        raise ModelLoadError(
            spec.name,
            spec.backend,
            f"a fresh interpreter ended with {said[-1]!r}",
            "Load it by `get_model` for the whole story.",
        )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and print; the request is the last argument."""
    print(json.dumps(_measured(json.loads(sys.argv[-1]))))


def _measured(request: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.spec import ModelSpec
    from pytest_embedcache.testing.speedup.loads import memory_cache
    from pytest_embedcache.vectors.api import cached_model

    ours = time.perf_counter() - started
    registry = ModelRegistry(cache_dir=request["directory"])
    spec = ModelSpec(**request["spec"])
    begun = time.perf_counter()
    # Not by `get`: the vectors of a model that was handed out are not stored.
    with registry.handle(spec).held():
        pass
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
    imported = ours + stats.import_seconds, loaded - stats.import_seconds
    seconds = dict(zip(STAGES, (*imported, first, warm), strict=True))
    return {"name": stats.name, "loads": stats.loads, **seconds}


if __name__ == "__main__":
    main()
