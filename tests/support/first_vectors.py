"""Times consumers of one model in this fresh process: `python -m support.first_vectors`.

Arguments: a model, and the registry as `module:class`. Prints JSON: for each consumer the seconds
from its making to its first vector, how often the model was loaded, and whether all vectors are the
first one's, byte by byte.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

CONSUMERS = 6
TEXT = "The cat sits on the mat."


def main(model: str, registry_class: str) -> None:
    module, _, name = registry_class.partition(":")
    registry = getattr(importlib.import_module(module), name)(after_import=_one_thread)
    seconds, vectors, managers = [], [], []
    for _ in range(CONSUMERS):
        start = time.perf_counter()
        # In the time of the first: what any program pays that starts to use a model.
        from embedding_manager import EmbeddingManager

        managers.append(EmbeddingManager({"model": model}, registry=registry))
        vectors.append(managers[-1].vector(TEXT))
        seconds.append(time.perf_counter() - start)
    found = {
        "seconds": seconds,
        "loads": registry.stats().loads,
        "dimension": vectors[0].shape[0],
        "same": all(vector.tobytes() == vectors[0].tobytes() for vector in vectors),
    }
    print(json.dumps(found))


def _one_thread(fresh: bool) -> None:
    import torch

    # Two processes with two threads each on two cores take a hundred times as long for a text.
    torch.set_num_threads(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
