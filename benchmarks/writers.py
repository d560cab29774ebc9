"""A process that writes vectors into the machine's SQLite store when it is told to."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from pytest_embedcache.vectors.sqlite import SqliteStore

__all__ = ["BATCH", "COUNT", "DIMENSION", "FINGERPRINT", "items", "main"]

COUNT, DIMENSION = 10_000, 384
#: Vectors in one `put_many`, as many as `CachedModel.encode` computes at once.
BATCH = 1024
FINGERPRINT = "ab" * 32


def items(writer: int, count: int) -> dict[bytes, np.ndarray]:
    """What a writer writes: keys of its own, and vectors that are never two the same."""
    draw = np.random.default_rng(writer)
    keys = draw.bytes(32 * count)
    vectors = draw.uniform(-1, 1, (count, DIMENSION)).astype(np.float32)
    return {keys[32 * i : 32 * (i + 1)]: vector for i, vector in enumerate(vectors)}


def main(folder: str, writer: str, count: str) -> None:
    """Say `ready`, wait for a line, write; then print when it began and ended, and each batch."""
    made = items(int(writer), int(count))
    keys = list(made)
    store = SqliteStore(folder)
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.time()
    batches = []
    for start in range(0, len(keys), BATCH):
        batch = {key: made[key] for key in keys[start : start + BATCH]}
        before = time.perf_counter()
        won = store.put_many(FINGERPRINT, batch)
        batches.append(time.perf_counter() - before)
        assert not won
    print(json.dumps({"begin": begin, "end": time.time(), "batches": batches}))
    store.close()
