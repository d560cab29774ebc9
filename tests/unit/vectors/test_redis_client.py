"""How Redis is addressed: forms of URLs, the environment, and no secret in any message."""

from __future__ import annotations

import traceback
from importlib.machinery import ModuleSpec

import pytest

from pytest_embedcache.errors import MissingExtraError, SettingsError
from pytest_embedcache.vectors import redis_client
from pytest_embedcache.vectors.redis import RedisStore
from pytest_embedcache.vectors.redis_client import address_of


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if redis-py were installed: nothing here needs it."""
    monkeypatch.setattr(redis_client, "find_spec", lambda name: ModuleSpec(name, None))


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://localhost", "localhost:6379/0"),
        ("redis://:secret@cache.example:7000/3", "cache.example:7000/3"),
        ("rediss://user:secret@cache.example/1", "cache.example:6379/1"),
        ("redis://user:p%40ss%2Fsecret@[::1]:7000", "::1:7000/0"),
        ("unix://:secret@/run/redis.sock?db=2", "/run/redis.sock"),
        ("redis://h/0?password=secret", "h:6379/0"),
    ],
)
def test_a_location_is_for_people(url: str, location: str) -> None:
    """Host, port and database, or the socket; neither user, password nor query."""
    assert address_of(url).location == location
    assert "secret" not in repr(address_of(url))
    assert "secret" not in repr(RedisStore(url))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:se/cret@host:6379",
        "redis://user:secret@host:port",
        "http://user:secret@host",
        "user:secret@host",
        "",
        "redis://[::1:secret@host",
    ],
)
def test_a_bad_url_is_not_quoted(url: str) -> None:
    """The error says how to write one, and quotes nothing of it: a password may be anywhere."""
    with pytest.raises(SettingsError, match="redis://") as raised:
        RedisStore(url)
    assert "cret" not in "".join(traceback.format_exception(raised.value))


def test_the_environment_is_the_default() -> None:
    """Without a URL: REDIS_HOST, REDIS_PORT, REDIS_PASSWORD and REDIS_DB, each with a default."""
    given = {
        "REDIS_HOST": "cache.example",
        "REDIS_PORT": "7000",
        "REDIS_PASSWORD": "secret",
        "REDIS_DB": "3",
    }
    address = address_of(None, given)
    assert address.location == "cache.example:7000/3"
    assert address.options == {
        "host": "cache.example",
        "port": 7000,
        "password": "secret",
        "db": 3,
    }
    assert "secret" not in repr(address)
    plain = address_of(None, {"REDIS_PASSWORD": ""})
    assert plain.location == "localhost:6379/0"
    assert plain.options["password"] is None


@pytest.mark.parametrize("name", ["REDIS_PORT", "REDIS_DB"])
def test_a_number_that_is_none_is_named(name: str) -> None:
    """The error names the variable and the value."""
    with pytest.raises(SettingsError, match=f"{name} = 'many'"):
        address_of(None, {name: "many"})


def test_a_missing_package_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the store names the extra, before anything was asked of it."""
    monkeypatch.setattr(redis_client, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pytest-embedcache\[redis\]"):
        RedisStore("redis://localhost")


def test_an_empty_prefix_is_refused() -> None:
    """Without a prefix our keys would be among everybody's."""
    with pytest.raises(SettingsError, match="redis_prefix"):
        RedisStore("redis://localhost", prefix="")
