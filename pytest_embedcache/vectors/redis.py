"""`RedisStore`: the vectors that several machines share."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from pytest_embedcache.errors import SettingsError, StoreError, StorePausedError
from pytest_embedcache.vectors import forking
from pytest_embedcache.vectors.breaker import Breaker
from pytest_embedcache.vectors.codec import check_vectors, decode_many, pack, same
from pytest_embedcache.vectors.counts import Counts
from pytest_embedcache.vectors.redis_client import RedisAddress, address_of, used_memory
from pytest_embedcache.vectors.store import StoreStats

__all__ = ["DEFAULT_PREFIX", "DEFAULT_TTL", "RedisStore"]

DEFAULT_PREFIX = "embed"
#: Seconds: 7 days.
DEFAULT_TTL = 7 * 86400
#: Keys in one MGET, and commands in one pipeline: 1.5 MB of vectors of 384 components.
_CHUNK = 1000
#: Seconds that counting the entries may take; a server may hold many millions of keys.
_COUNTING = 2.0
_REMEDY = "It is tried again later by itself."

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class RedisStore:
    """A `VectorStore` in Redis, under `<prefix>:v1:<16 hex of the fingerprint>:<64 hex key>`.

    A vector expires a fixed time after it was put. When Redis is away, calls fail at once for a
    while instead of waiting for the time-out each time. Nothing is deleted that this package does
    not recognise as its own.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`; `None` asks `REDIS_HOST`, `REDIS_PORT`,
            `REDIS_PASSWORD` and `REDIS_DB`.
        prefix: First part of all keys.
        ttl: Seconds that a vector lives from when it was put; `None` is for ever.
        cluster: Whether it is a Redis Cluster.
        timeout: Seconds for connecting, and for each answer.
        clock: Returns seconds that never go back.
        client: A redis-py client to use instead of making one; its settings are the caller's.

    Raises:
        MissingExtraError: redis-py is not installed.
        SettingsError: The URL, the environment or the prefix cannot be used.
    """

    name = "redis"

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str = DEFAULT_PREFIX,
        ttl: float | None = DEFAULT_TTL,
        cluster: bool = False,
        timeout: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        client: Any = None,
    ) -> None:
        if not prefix:
            raise SettingsError("redis_prefix", prefix, "the argument", "give a short name")
        self._address = address_of(url) if client is None else RedisAddress("the given client")
        self._given = client
        self._cluster = cluster
        self._timeout = timeout
        self._prefix = prefix
        self._ttl = ttl
        self._clock = clock
        self._breaker = Breaker(clock)
        self._counts = Counts()
        self._lock = threading.Lock()
        self._client: Any = None
        self._pid = os.getpid()
        forking.tell(self)

    def __repr__(self) -> str:
        return f"RedisStore({self._address.location}, prefix={self._prefix!r})"

    @property
    def location(self) -> str:
        """Where it is, for people: no credentials."""
        return self._address.location

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found: dict[bytes, np.ndarray] = {}
        for chunk in _chunks(keys, _CHUNK):
            found.update(self._call(partial(self._get, fingerprint=fingerprint, keys=chunk)))
        self._counts.add(hits=len(found), misses=len(keys) - len(found))
        if keys:
            share = 100 * len(found) / len(keys)
            _log.info("Redis: %d of %d vectors found (%.0f %%)", len(found), len(keys), share)
        return found

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        vectors = check_vectors(items)
        winners = {}
        for keys in _chunks(vectors, _CHUNK):
            values = {key: pack(vectors[key], key) for key in keys}
            stored = self._call(partial(self._put, fingerprint=fingerprint, values=values))
            winners.update({k: old for k, old in stored.items() if not same(old, vectors[k])})
        return winners

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        names = [self._name(fingerprint, key) for key in keys]
        return sum(self._call(partial(_delete, names=chunk)) for chunk in _chunks(names, _CHUNK))

    def clear(self, fingerprint: str | None = None) -> int:
        def clear(client: Any) -> int:
            return sum(_delete(client, chunk) for chunk in self._names(client, fingerprint))

        return self._call(clear)

    def stats(self) -> StoreStats:
        """As the protocol says, also while Redis is away: then `details` says so.

        Counting looks at all keys of the server, for two seconds at most: `counted_all` is False
        where that was not enough.
        """
        try:
            entries, size, details = self._call(self._look)
        except StoreError as error:
            entries, size, details = 0, 0, {"error": str(error)}
        return StoreStats(
            entries=entries,
            bytes=size,
            hits=self._counts["hits"],
            misses=self._counts["misses"],
            corrupt=self._counts["corrupt"],
            errors=self._counts["errors"],
            details={
                "location": self._address.location,
                "prefix": self._prefix,
                "cache_ttl_days": None if self._ttl is None else self._ttl / 86400,
                "unrecognised": self._counts["unrecognised"],
                **details,
            },
        )

    def memory_used(self) -> int:
        """Bytes that the server uses, whoever's; counts nothing. Raises `StoreError`."""
        return self._call(partial(used_memory, cluster=self._cluster))

    def close(self) -> None:
        """Close the connections; the next use opens new ones. A given client stays open."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._given is None:
            if self._cluster:  # whose own close leaves the connections to whoever collects it
                client.disconnect_connection_pools()
            client.close()

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        if self._pid != os.getpid():
            # Its locks may be held by threads that do not exist here.
            self._client, self._pid = None, os.getpid()
        self._lock.release()

    # ------------------------------------------------------------------------------ commands

    def _get(self, client: Any, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        names = [self._name(fingerprint, key) for key in keys]
        found, damaged = self._decode(zip(keys, self._mget(client, names), strict=True))
        if damaged:
            _delete(client, [self._name(fingerprint, key) for key in damaged])
        return found

    def _put(
        self, client: Any, fingerprint: str, values: Mapping[bytes, bytes]
    ) -> dict[bytes, np.ndarray]:
        """Set what is missing; returns what was there already."""
        taken = self._set(client, fingerprint, values)
        if not taken:
            return {}
        held = self._mget(client, [self._name(fingerprint, key) for key in taken])
        stored, damaged = self._decode(zip(taken, held, strict=True))
        if damaged:
            _delete(client, [self._name(fingerprint, key) for key in damaged])
            self._set(client, fingerprint, {key: values[key] for key in damaged})
        return stored

    def _set(self, client: Any, fingerprint: str, values: Mapping[bytes, bytes]) -> list[bytes]:
        """`SET … NX PX` for each; returns the keys that were taken."""
        life = None if self._ttl is None else max(1, round(self._ttl * 1000))
        with client.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(self._name(fingerprint, key), value, nx=True, px=life)
            answers = pipeline.execute()
        return [key for key, answer in zip(values, answers, strict=True) if not answer]

    def _mget(self, client: Any, names: list[str]) -> list[Any]:
        # In a cluster the keys of one MGET would have to lie in one slot.
        answer = client.mget_nonatomic(names) if self._cluster else client.mget(names)
        return list(answer)

    def _decode(
        self, answers: Iterable[tuple[bytes, Any]]
    ) -> tuple[dict[bytes, np.ndarray], list[bytes]]:
        """The vectors, and the keys whose values are ours, and damaged."""
        found, errors = decode_many((k, value) for k, value in answers if value is not None)
        damaged = [key for key, error in errors.items() if error.ours]
        if errors:
            self._counts.add(corrupt=len(damaged), unrecognised=len(errors) - len(damaged))
        return found, damaged

    def _look(self, client: Any) -> tuple[int, int, dict[str, Any]]:
        entries = size = 0
        deadline = self._clock() + _COUNTING
        complete = True
        for names in self._names(client, None):
            entries += len(names)
            with client.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.strlen(name)
                size += sum(pipeline.execute())
            if self._clock() > deadline:
                complete = False
                break
        used = used_memory(client, cluster=self._cluster)
        return entries, size, {"redis_memory_used": used, "counted_all": complete}

    def _names(self, client: Any, fingerprint: str | None) -> Iterator[list[bytes]]:
        """The names of our keys, in chunks; by SCAN, since KEYS stops the server for all."""
        head = f"{self._prefix}:v1:{fingerprint[:16] + ':' if fingerprint else ''}"
        ours = re.compile(re.escape(self._prefix.encode()) + rb":v1:[0-9a-f]{16}:[0-9a-f]{64}")
        names = client.scan_iter(match=re.sub(r"([\\*?\[\]^])", r"\\\1", head) + "*", count=_CHUNK)
        yield from _chunks((name for name in names if ours.fullmatch(name)), _CHUNK)

    def _name(self, fingerprint: str, key: bytes) -> str:
        return f"{self._prefix}:v1:{fingerprint[:16]}:{key.hex()}"

    # ------------------------------------------------------------------------------ connection

    def _call(self, command: Callable[[Any], _T]) -> _T:
        if not self._breaker.allows():
            raise StorePausedError(
                "redis", self._address.location, "it did not answer a moment ago", _REMEDY
            )
        from redis import exceptions

        away = (exceptions.ConnectionError, exceptions.TimeoutError)
        try:
            result = command(self._connected())
        except (*away, exceptions.RedisClusterException, OSError) as error:
            self._breaker.failed()
            self._counts.add(errors=1)
            _log.info("Redis at %s is gone without for now: %s", self._address.location, error)
            raise self._failure(str(error)) from error
        except exceptions.RedisError as error:  # it answers, and refuses: no reason to wait
            self._counts.add(errors=1)
            raise self._failure(str(error)) from error
        if self._breaker.succeeded():
            _log.info("Redis at %s answers again", self._address.location)
        return result

    def _connected(self) -> Any:
        client = self._client
        if client is not None:
            return client
        with self._lock:
            if self._client is None:
                client = self._given or self._address.connect(
                    cluster=self._cluster, timeout=self._timeout
                )
                client.ping()
                self._client = client
                where, prefix = self._address.location, self._prefix
                _log.info("Redis at %s connected, prefix %s", where, prefix)
            return self._client

    def _failure(self, reason: str) -> StoreError:
        return StoreError("redis", self._address.location, reason.rstrip("."), _REMEDY)


def _delete(client: Any, names: Sequence[str | bytes]) -> int:
    return int(client.delete(*names)) if names else 0


def _chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
