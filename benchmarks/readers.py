"""Ways to keep vectors by text, each as a function that stores them and one that opens the store.

Run in a process of its own: `main("store" | "read", NAME, FOLDER, COUNT)`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.real_model import MODEL
from pytest_embedcache import ModelSpec, get_model
from pytest_embedcache.models.registry import default_registry
from pytest_embedcache.vectors import sqlite_rows
from pytest_embedcache.vectors.api import cached_model, default_cache
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.sqlite import SqliteStore

__all__ = ["COUNT", "DIMENSION", "READERS", "main", "texts", "vectors"]

COUNT, DIMENSION = 10_000, 384
#: In the environment: where the Redis server listens.
REDIS = "BENCH_REDIS_URL"
#: Keys in one MGET, the same for the store and for what it is compared with.
CHUNK = 1000
#: Further calls in the same process.
AGAIN = 5

Read = Callable[[Sequence[str]], Any]


def texts(count: int = COUNT) -> list[str]:
    """As long as the titles and sentences that people embed."""
    return [f"text number {i}, about something that nobody has said before" for i in range(count)]


def vectors(count: int = COUNT) -> np.ndarray:
    """In place of the model's: only reading is measured."""
    return np.random.default_rng(0).uniform(-1, 1, (count, DIMENSION)).astype(np.float32)


@dataclass(frozen=True)
class Reader:
    """`store(folder, texts, matrix)`; `open(folder, texts)` returns what is timed.

    `needs` is a module without which it cannot be measured, and the package that has it. `forget`
    is called before each further call, so that it reads what the first one did.
    """

    store: Callable[[Path, list[str], np.ndarray], object]
    open: Callable[[Path, list[str]], Read]
    needs: tuple[str, str] | None = None
    forget: Callable[[], object] = lambda: None


def _put(model: CachedModel, cache: VectorCache, listed: list[str], matrix: np.ndarray) -> None:
    assert cache.store is not None
    cache.store.put_many(model.fingerprint, dict(zip(model.keys(listed), matrix, strict=True)))


def _store_ours(folder: Path, listed: list[str], matrix: np.ndarray) -> None:
    _put(get_model(MODEL), default_cache(), listed, matrix)


def _forget_memory() -> None:
    store = default_cache().store
    assert store is not None
    (memory,) = (tier for tier in store.stores if tier.name == "memory")
    memory.clear()


def _open_raw_sqlite(folder: Path, listed: list[str]) -> Read:
    """The least that a program can do with the same file: the keys are made before, nothing is
    checked."""
    model = get_model(MODEL)
    fingerprint, keys = model.fingerprint, model.keys(listed)
    assert fingerprint is not None
    store = SqliteStore()
    assert store.stats().entries == len(keys)
    connection = sqlite3.connect(store.path)

    def read(listed: Sequence[str]) -> np.ndarray:
        found: dict[bytes, bytes] = {}
        for chunk in sqlite_rows.chunks(keys, sqlite_rows.CHUNK):
            statement = (
                f"SELECT key, value FROM vectors WHERE model = {sqlite_rows.MODEL} AND key IN "
                f"({', '.join('?' * len(chunk))})"
            )
            found.update(connection.execute(statement, (fingerprint, *chunk)).fetchall())
        matrix = np.frombuffer(b"".join([found[key] for key in keys]), np.float32)
        return matrix.reshape(len(keys), -1)[:, -DIMENSION:]

    return read


def _open_memory(folder: Path, listed: list[str]) -> Read:
    model = get_model(MODEL)
    model.encode(listed)  # from SQLite, and into memory
    return model.encode


def _redis_model() -> tuple[CachedModel, VectorCache]:
    from pytest_embedcache.vectors.redis import RedisStore
    from pytest_embedcache.vectors.tiered import TieredStore

    cache = VectorCache(TieredStore([RedisStore(os.environ[REDIS])]))
    return cached_model(default_registry(), cache, ModelSpec(MODEL, device="cpu")), cache


def _store_redis(folder: Path, listed: list[str], matrix: np.ndarray) -> None:
    _put(*_redis_model(), listed, matrix)


def _open_redis(folder: Path, listed: list[str]) -> Read:
    model, cache = _redis_model()
    assert cache.store is not None
    cache.store.get_many(model.fingerprint, [bytes(32)])  # imports the client, and connects
    return model.encode


def _store_raw_redis(folder: Path, listed: list[str], matrix: np.ndarray) -> None:
    import redis

    client = redis.Redis.from_url(os.environ[REDIS])
    client.mset({_name(text): row.tobytes() for text, row in zip(listed, matrix, strict=True)})


def _open_raw_redis(folder: Path, listed: list[str]) -> Read:
    """The least that a program can do: the names are made before, nothing is checked."""
    import redis

    client = redis.Redis.from_url(os.environ[REDIS])
    client.ping()
    names = [_name(text) for text in listed]

    def read(listed: Sequence[str]) -> np.ndarray:
        found: list[bytes] = []
        for start in range(0, len(names), CHUNK):
            found += client.mget(names[start : start + CHUNK])
        return np.frombuffer(b"".join(found), np.float32).reshape(len(found), -1)

    return read


def _name(text: str) -> str:
    # As long as ours: what is sent counts.
    return f"raw:v1:{'0' * 16}:{text.encode().hex()[:64]:>64}"


def _langchain(folder: Path, matrix: np.ndarray | None = None) -> Any:
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_classic.storage import LocalFileStore
    from langchain_core.embeddings import Embeddings

    class Stored(Embeddings):
        def embed_documents(self, listed: list[str]) -> list[list[float]]:
            assert matrix is not None
            return list(matrix.tolist())

        def embed_query(self, text: str) -> list[float]:
            raise NotImplementedError

    files = LocalFileStore(folder)
    return CacheBackedEmbeddings.from_bytes_store(
        Stored(), files, namespace="model", key_encoder="sha256"
    )


def _store_diskcache(folder: Path, listed: list[str], matrix: np.ndarray) -> None:
    import diskcache

    with diskcache.Cache(str(folder)) as cache, cache.transact():
        for text, row in zip(listed, matrix, strict=True):
            cache[text] = row.tobytes()


def _open_diskcache(folder: Path, listed: list[str]) -> Read:
    import diskcache

    cache = diskcache.Cache(str(folder))

    def read(listed: Sequence[str]) -> np.ndarray:
        found = b"".join([cache[text] for text in listed])
        return np.frombuffer(found, np.float32).reshape(len(listed), -1)

    return read


OURS, MEMORY, REDIS_TIER = "SQLite tier", "memory tier", "Redis tier"
RAW_SQLITE = "SQLite, raw SELECT"
#: These read what the SQLite tier has stored.
OF_OURS = (MEMORY, RAW_SQLITE)
RAW_REDIS, DISKCACHE, LANGCHAIN = "Redis, raw MGET", "diskcache", "LangChain, LocalFileStore"
READERS = {
    OURS: Reader(
        _store_ours, lambda folder, listed: get_model(MODEL).encode, forget=_forget_memory
    ),
    MEMORY: Reader(_store_ours, _open_memory),
    RAW_SQLITE: Reader(_store_ours, _open_raw_sqlite),
    REDIS_TIER: Reader(_store_redis, _open_redis, ("redis", "redis")),
    RAW_REDIS: Reader(_store_raw_redis, _open_raw_redis, ("redis", "redis")),
    DISKCACHE: Reader(_store_diskcache, _open_diskcache, ("diskcache", "diskcache")),
    LANGCHAIN: Reader(
        lambda folder, listed, matrix: _langchain(folder, matrix).embed_documents(listed),
        lambda folder, listed: _langchain(folder).embed_documents,
        ("langchain_classic", "langchain-classic"),
    ),
}


def main(what: str, name: str, folder: str, count: str) -> None:
    """Store, or read and print the seconds, as JSON: `first`, `processor`, `again`.

    Those of the first call, by the clock and of the processor, and the median of further calls.
    Ends with an error for a wrong vector.
    """
    reader, where, listed = READERS[name], Path(folder), texts(int(count))
    if what == "store":
        reader.store(where, listed, vectors(len(listed)))
        return
    read = reader.open(where, listed)
    worked = time.process_time()
    first, found = _timed(read, listed)
    worked = time.process_time() - worked
    _compare(name, found, len(listed))
    del found
    again = []
    for _ in range(AGAIN):
        reader.forget()
        seconds, found = _timed(read, listed)
        again.append(seconds)
        _compare(name, found, len(listed))
        del found  # not while the next one is made: the first has none beside it either
    if "torch" in sys.modules:
        sys.exit(f"{name}: torch was imported")
    print(json.dumps({"first": first, "processor": worked, "again": statistics.median(again)}))


def _timed(read: Read, listed: list[str]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = read(listed)
    return time.perf_counter() - start, found


def _compare(name: str, found: Any, count: int) -> None:
    if np.asarray(found, np.float32).tobytes() != vectors(count).tobytes():
        sys.exit(f"{name}: a vector is another")
