"""How Redis is reached: by a URL or the environment, and no message quotes a secret."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

from pytest_embedcache.errors import MissingExtraError, SettingsError

__all__ = ["URL_FORMS", "RedisAddress", "address_of", "location_of", "used_memory"]

_SCHEMES = ("redis", "rediss", "unix")
URL_FORMS = (
    "write redis://[[user]:password@]host[:port][/database], rediss://… for TLS or "
    "unix://[[user]:password@]/path?db=0, with special characters percent-encoded"
)


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is.

    Attributes:
        location: For people: host, port and database, or a socket's path; no credentials.
        url: As it was given, with whatever secrets it holds; None where `options` say it all.
        options: Arguments for redis-py; what the URL says wins.
    """

    location: str
    url: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def connect(self, *, cluster: bool, timeout: float) -> Any:
        """A redis-py client; a cluster's is connected when this returns, the other when used.

        Raises:
            SettingsError: redis-py does not take the URL.
            redis.RedisError: A cluster cannot be reached.
        """
        import redis
        from redis.backoff import NoBackoff
        from redis.cluster import RedisCluster
        from redis.retry import Retry

        lost = redis.exceptions.ConnectionError
        common: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            # Once, for connections that died with a server that is back; a time-out is not
            # repeated, since the caller has lost that time already.
            "retry": Retry(NoBackoff(), 1, (lost,)),
        }
        factory: Any = RedisCluster if cluster else redis.Redis
        if not cluster:
            common["retry_on_error"] = [lost]
        try:
            if self.url is None:
                return factory(**common, **self.options)
            return factory.from_url(self.url, **common, **self.options)
        except (TypeError, ValueError):
            # Not chained: the message may quote a part of the URL, such as the password.
            raise _bad_url(self.url or "") from None


def address_of(url: str | None, environment: Mapping[str, str] = os.environ) -> RedisAddress:
    """The address that `url` names, else `REDIS_HOST`, `_PORT` and `_DB`.

    `REDIS_PASSWORD` is for both, where the URL has none.

    Raises:
        SettingsError: A part of it cannot be used; the message does not quote the URL.
        MissingExtraError: redis-py is not installed.
    """
    if find_spec("redis") is None:
        raise MissingExtraError("the Redis store", "redis", "redis")
    password = environment.get("REDIS_PASSWORD") or None
    if url is not None:
        return RedisAddress(location_of(url), url, {"password": password} if password else {})
    host = environment.get("REDIS_HOST") or "localhost"
    port = _number(environment, "REDIS_PORT", 6379)
    database = _number(environment, "REDIS_DB", 0)
    options = {
        "host": host,
        "port": port,
        "db": database,
        "password": password,
    }
    return RedisAddress(f"{host}:{port}/{database}", options=options)


def location_of(url: str) -> str:
    """Where `url` leads, for people: no credentials.

    Raises:
        SettingsError: It is none for Redis; the message does not quote it.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise ValueError
        if parts.scheme == "unix":
            return unquote(parts.path)
        return f"{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path or '/0'}"
    except ValueError:
        raise _bad_url(url) from None


def _bad_url(url: str) -> SettingsError:
    scheme = url.partition("://")[0]
    shown = f"{scheme}://…" if scheme in _SCHEMES else "…"
    return SettingsError(
        "redis_url",
        shown,
        "the Redis URL",
        URL_FORMS,
    )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name)
    if not text:
        return default
    if not text.isdecimal():
        raise SettingsError(name, text, "environment", "give a whole number")
    return int(text)


def used_memory(client: Any, *, cluster: bool) -> int:
    """Bytes that the server uses, or the primaries of a cluster together."""
    if cluster:
        nodes = [client.info("memory", target_nodes=node) for node in client.get_primaries()]
    else:
        nodes = [client.info("memory")]
    return sum(int(node["used_memory"]) for node in nodes)
