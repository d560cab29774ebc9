"""What `search_command` measures in a process of its own: `main(what, folder, …)`."""

from __future__ import annotations

import json
import time
from pathlib import Path

from benchmarks.encoders import kernel
from examples.real_model import MODEL

__all__ = ["main"]

#: Seconds without use after which the model goes.
IDLE = 2.0


def main(what: str, folder: str, *arguments: str) -> None:
    {"encode": encode, "search": search, "idle": idle}[what](folder, *arguments)


def encode(folder: str) -> None:
    """The texts' vectors as a .npy file, for who searches with numpy; ours, which are the same."""
    import numpy as np

    from pytest_embedcache import get_model

    listed = json.loads(Path(folder, "texts.json").read_text(encoding="utf-8"))
    np.save(f"{folder}/texts.npy", get_model(MODEL, strategy="cached").encode_document(listed))


def search(folder: str, query: str) -> None:
    """As it is done without this package: load the model, encode, multiply, sort."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    vectors = np.load(f"{folder}/texts.npy", mmap_mode="r")
    listed = json.loads(Path(folder, "texts.json").read_text(encoding="utf-8"))
    (asked,) = SentenceTransformer(MODEL, device="cpu").encode([query])
    scores = vectors @ asked
    best = np.argpartition(-scores, 10)[:10]
    for row in best[np.argsort(-scores[best])]:
        print(f"{scores[row]:.3f} {listed[row]}")


def idle(folder: str, size: str) -> None:
    """MB resident with the model loaded, and when it was unloaded for want of use; as JSON."""
    from pytest_embedcache import ModelRegistry, ModelSpec
    from pytest_embedcache.search import SemanticIndex
    from pytest_embedcache.vectors.api import StoreSettings, cached_model, open_cache

    registry = ModelRegistry(idle_timeout=IDLE)
    cache = open_cache(StoreSettings.from_environment())
    model = cached_model(registry, cache, ModelSpec(MODEL, backend="onnx"))
    index = SemanticIndex(f"{folder}/index-{size}", model, vector_backend="sqlite-vec")
    found = index.search("a query of which no store has the vector")
    vectors = index.stats().vectors
    if found.by != "vectors" or vectors is None or vectors["backend"] != "sqlite-vec":
        raise RuntimeError(f"this is no search through sqlite-vec: {found.notice}, {vectors}")
    loaded = kernel("status", "VmRSS")
    until = time.monotonic() + 60
    while model.is_loaded:
        if time.monotonic() > until:
            raise RuntimeError("the model does not go")
        time.sleep(0.1)
    resident, own = kernel("status", "VmRSS"), kernel("smaps_rollup", "Private_Dirty")
    index.close()
    cache.close()
    print(json.dumps({"loaded": loaded, "idle": resident, "private": own}))
