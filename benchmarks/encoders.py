"""One way to have a vector of all-MiniLM-L6-v2, in a process of its own.

`main(what, way, …)` prints JSON. The ways: plain sentence-transformers, and the prepared forms.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from examples.real_model import MODEL

__all__ = ["FORMS", "TORCH", "kernel", "main", "prepare"]

TORCH = "sentence-transformers"
FORMS = {"cached": "float32", "quantized": "int8", "int8-dynamic": "int8-dynamic"}
#: 250 tokens and the special ones; the model's limit is 256.
LONG = " ".join(["cat"] * 254)
SHORT = "how do I cancel my subscription, and get the money back"


def prepare(*forms: str) -> None:
    """Prepare the forms in the cache directory of the environment."""
    from pytest_embedcache import ModelRegistry, ModelSpec

    for form in forms:
        ModelRegistry().resolve(ModelSpec(MODEL, backend="onnx", form=form))


def main(what: str, way: str, *arguments: str) -> None:
    print(json.dumps({"first": first, "speed": speed, "memory": memory}[what](way, *arguments)))


def first(way: str) -> dict[str, float]:
    """Seconds from the start of the process to the first vector, and resident MB then."""
    _vector_of(way)([f"{SHORT} {os.getpid()}"])  # in no store
    return {"seconds": time.time() - _started(), "rss": kernel("status", "VmRSS")}


def speed(way: str, calls: str, *sizes: str) -> dict[str, float]:
    """Texts per second at batches of `sizes`, the median of `calls` calls, past any store."""
    encode = _bare(way)
    found = {}
    for size in map(int, sizes):
        texts = [f"{SHORT} {i}" for i in range(size)]
        encode(texts)
        seconds = []
        for _ in range(int(calls)):
            start = time.perf_counter()
            encode(texts)
            seconds.append(time.perf_counter() - start)
        found[str(size)] = size / sorted(seconds)[len(seconds) // 2]
    return found


def memory(way: str) -> dict[str, float]:
    """MB: the peak of 32 texts of 256 tokens, resident after it, proportional, after unload.

    Between the second and the third it waits for a line, so that several can be measured together.
    """
    import gc

    encode: Any = _bare(way)
    encode([LONG] * 32)
    found = {"peak": kernel("status", "VmHWM"), "after": kernel("status", "VmRSS")}
    print("ready", flush=True)
    sys.stdin.readline()
    found["pss"] = kernel("smaps_rollup", "Pss")
    print(json.dumps(found), flush=True)
    sys.stdin.readline()
    del encode
    _registry.clear()
    gc.collect()
    _trim()
    return {"unloaded": kernel("status", "VmRSS")}


class _Registry:
    def __init__(self) -> None:
        self.registry: Any = None

    def clear(self) -> None:
        if self.registry is not None:
            self.registry.reset()


_registry = _Registry()


def _vector_of(way: str) -> Any:
    """As a program has it: with a store, where there is one."""
    if way == TORCH:
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(MODEL, device="cpu").encode
    from pytest_embedcache import get_model

    return get_model(MODEL, backend="onnx", form=FORMS[way]).encode


def _bare(way: str) -> Any:
    """The model itself: every call computes."""
    if way == TORCH:
        return _vector_of(way)
    from pytest_embedcache import ModelRegistry, ModelSpec

    _registry.registry = ModelRegistry()
    return _registry.registry.get(ModelSpec(MODEL, backend="onnx", form=FORMS[way])).encode


def _started() -> float:
    """When this process was started, in seconds since the epoch."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def kernel(file: str, name: str) -> float:
    """MB, from what the kernel says of this process in `file`."""
    for line in Path("/proc/self", file).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/{file} does not tell {name}")


def _trim() -> None:
    import ctypes

    ctypes.CDLL(None).malloc_trim(0)
