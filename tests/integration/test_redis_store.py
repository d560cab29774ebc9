"""The Redis store against a real server: the contract, strangers' values, and outages."""

from __future__ import annotations

import gc
import logging
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from support.redis_server import RedisServer, free_port

from pytest_embedcache.errors import StoreError
from pytest_embedcache.testing.contracts import (
    MODEL,
    OTHER_MODEL,
    VectorStoreContract,
    equal,
    items_of,
    key_of,
)
from pytest_embedcache.vectors.redis import RedisStore

#: Seconds for an answer: a busy machine is no bug.
PATIENT = 120.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    """The server, empty, without our store between."""
    import redis

    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(server: RedisServer, client: Any) -> Iterator[RedisStore]:
    store = RedisStore(server.url, timeout=PATIENT)
    yield store
    store.close()


class TestRedisStore(VectorStoreContract):
    @pytest.fixture
    def store(self, server: RedisServer, client: Any) -> Iterator[RedisStore]:
        store = RedisStore(server.url, timeout=PATIENT)
        yield store
        store.close()


def name_of(name: object, model: str = MODEL, prefix: str = "embed") -> str:
    return f"{prefix}:v1:{model[:16]}:{key_of(name).hex()}"


# ------------------------------------------------------------------------------ what is in Redis


def test_keys_have_the_documented_form(store: RedisStore, client: Any) -> None:
    """Prefix, version, 16 digits of the model and 64 of the key: a person can find them."""
    store.put_many(MODEL, items_of("a"))
    assert client.keys("*") == [name_of("a").encode()]


def test_vectors_expire_after_seven_days(store: RedisStore, client: Any) -> None:
    """The default lifetime is set with the value, counts from the write, and is in the stats."""
    store.put_many(MODEL, items_of("a"))
    store.get_many(MODEL, [key_of("a")])
    assert 7 * 86400 - 60 < client.ttl(name_of("a")) <= 7 * 86400
    assert store.stats().details["cache_ttl_days"] == 7


def test_a_lifetime_may_be_chosen(server: RedisServer, client: Any) -> None:
    """`ttl` is in seconds, fractions too; None is for ever."""
    brief = RedisStore(server.url, ttl=600.5, timeout=PATIENT)
    lasting = RedisStore(server.url, ttl=None, prefix="x", timeout=PATIENT)
    brief.put_many(MODEL, items_of("a"))
    lasting.put_many(MODEL, items_of("a"))
    assert 0 < client.pttl(name_of("a")) <= 600_500
    assert client.ttl(name_of("a", prefix="x")) == -1
    brief.close()
    lasting.close()


def test_prefixes_are_apart(server: RedisServer, client: Any) -> None:
    """Two prefixes are two stores, also where one looks like a pattern for the other."""
    odd = RedisStore(server.url, prefix="e*[b]?", timeout=PATIENT)
    plain = RedisStore(server.url, prefix="exb1", timeout=PATIENT)
    odd.put_many(MODEL, items_of("a"))
    plain.put_many(MODEL, items_of("a", "b"))
    assert (odd.stats().entries, plain.stats().entries) == (1, 2)
    assert odd.clear() == 1
    assert plain.stats().entries == 2
    odd.close()
    plain.close()


def test_stats_say_what_redis_uses(store: RedisStore) -> None:
    """`redis_memory_used` is the server's own number."""
    store.put_many(MODEL, items_of(*range(100)))
    details = store.stats().details
    assert details["redis_memory_used"] > 100_000
    assert details["counted_all"] is True


def test_no_command_stops_the_server(store: RedisStore, client: Any) -> None:
    """`clear` and `stats` walk with SCAN: KEYS is never sent."""
    client.config_resetstat()
    store.put_many(MODEL, items_of(*range(10)))
    store.stats()
    store.clear()
    used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert "scan" in used
    assert used.isdisjoint({"keys", "flushdb", "flushall"})


# ------------------------------------------------------------------------------ others' values


def test_a_strangers_value_is_left_alone(store: RedisStore, client: Any) -> None:
    """What we do not recognise is a miss, is counted, is not written over and not deleted."""
    client.set(name_of("a"), b"another program's")
    client.hset(name_of("b"), "field", "value")
    assert store.get_many(MODEL, [key_of("a"), key_of("b")]) == {}
    assert store.put_many(MODEL, items_of("a", "b", "c")) == {}
    assert equal(store.get_many(MODEL, [key_of(n) for n in "abc"]), items_of("c"))
    assert client.get(name_of("a")) == b"another program's"
    assert client.hget(name_of("b"), "field") == b"value"
    assert store.stats().corrupt == 0
    assert store.stats().details["unrecognised"] > 0


def test_a_value_of_a_later_version_is_left_alone(store: RedisStore, client: Any) -> None:
    """Our magic with a version we do not know is another program's: a later one of ours."""
    store.put_many(MODEL, items_of("a"))
    value = bytearray(client.get(name_of("a")))
    value[8] = 2
    client.set(name_of("a"), bytes(value))
    assert store.get_many(MODEL, [key_of("a")]) == {}
    assert client.get(name_of("a")) == bytes(value)


@pytest.mark.parametrize("position", [5, 9, 13, 16, 30, -1])
def test_a_damaged_value_is_a_miss_and_deleted(
    store: RedisStore, client: Any, position: int
) -> None:
    """A flipped bit in header or payload is found out; the next writer is the first."""
    store.put_many(MODEL, items_of("a", "b"))
    value = bytearray(client.get(name_of("a")))
    value[position] ^= 4
    client.set(name_of("a"), bytes(value))
    assert equal(store.get_many(MODEL, [key_of("a"), key_of("b")]), items_of("b"))
    assert client.exists(name_of("a")) == 0
    assert store.stats().corrupt == 1
    assert store.put_many(MODEL, items_of("a")) == {}
    assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))


def test_a_damaged_value_is_written_over(store: RedisStore, client: Any) -> None:
    """`put_many` finds the damage too: what it accepted is there afterwards."""
    store.put_many(MODEL, items_of("a"))
    client.set(name_of("a"), client.get(name_of("a"))[:-1])
    assert store.put_many(MODEL, items_of("a")) == {}
    assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))


def test_another_keys_sound_value_is_no_answer(store: RedisStore, client: Any) -> None:
    """A whole value under the wrong key fails its checksum: the key is a part of it."""
    store.put_many(MODEL, items_of("a", "b"))
    client.set(name_of("a"), client.get(name_of("b")))
    assert equal(store.get_many(MODEL, [key_of("a"), key_of("b")]), items_of("b"))


def test_clear_touches_only_our_keys(store: RedisStore, client: Any) -> None:
    """Keys of others stay, also those that begin as ours do."""
    store.put_many(MODEL, items_of("a"))
    store.put_many(OTHER_MODEL, items_of("a"))
    others = {b"embed", b"embed:v1:settings", b"embed:v2:x", b"session:1"}
    client.mset(dict.fromkeys(others, "theirs"))
    assert store.clear() == 2
    assert set(client.keys("*")) == others


# ------------------------------------------------------------------------------ secrets and logs


def test_calls_are_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """Connect and hit rate are INFO lines; no message of ours has the password."""
    port = free_port()
    server = RedisServer("--requirepass", "s3cret", port=port)
    try:
        server.start()
        with caplog.at_level(logging.INFO, logger="pytest_embedcache"):
            store = RedisStore(f"redis://:s3cret@127.0.0.1:{port}/1", timeout=PATIENT)
            store.put_many(MODEL, items_of("a"))
            store.get_many(MODEL, [key_of("a"), key_of("b")])
            stats = store.stats().as_dict()
            server.kill()
            with pytest.raises(StoreError) as refused:
                store.get_many(MODEL, [key_of("a")])
            store.close()
        wrong = RedisStore(f"redis://:wr0ng@127.0.0.1:{port}/1", timeout=PATIENT)
        server.start()
        with pytest.raises(StoreError) as denied:
            wrong.get_many(MODEL, [key_of("a")])
        wrong.close()
    finally:
        server.close()
    assert f"127.0.0.1:{port}/1 connected" in caplog.text
    assert "1 of 2 vectors found (50 %)" in caplog.text
    assert "gone without" in caplog.text
    everything = f"{caplog.text}{stats}{store!r}{refused.value}{denied.value}"
    assert "s3cret" not in everything
    assert "wr0ng" not in everything
    assert f"127.0.0.1:{port}/1" in str(refused.value)


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a URL, REDIS_HOST, REDIS_PORT, REDIS_PASSWORD and REDIS_DB are used."""
    port = free_port()
    server = RedisServer("--requirepass", "pass/wörd", port=port)
    for name, value in (("HOST", "127.0.0.1"), ("PASSWORD", "pass/wörd"), ("DB", "3")):
        monkeypatch.setenv(f"REDIS_{name}", value)
    monkeypatch.setenv("REDIS_PORT", str(port))
    try:
        server.start()
        store = RedisStore()
        store.put_many(MODEL, items_of("a"))
        assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))
        assert store.stats().details["location"] == f"127.0.0.1:{port}/3"
        store.close()
    finally:
        server.close()


# ------------------------------------------------------------------------------ outages


class CountingSocket:
    """A port that takes connections and never says a word."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def connections(self) -> int:
        """How many have come since the last time."""
        count = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        self._socket.close()


def test_a_silent_server_costs_one_timeout_in_a_while() -> None:
    """While Redis does not answer, one call tries it; the others fail at once, until it is time."""
    silent = CountingSocket()
    clock = Clock()
    store = RedisStore(f"redis://127.0.0.1:{silent.port}", timeout=0.05, clock=clock)
    for _ in range(50):
        with pytest.raises(StoreError):
            store.get_many(MODEL, [key_of("a")])
    assert silent.connections() == 1
    clock.now += 1.0
    for _ in range(50):
        with pytest.raises(StoreError):
            store.put_many(MODEL, items_of("a"))
    assert silent.connections() == 1
    assert store.stats().details["error"]
    store.close()
    silent.close()


def test_a_refused_connection_is_an_error_of_ours() -> None:
    """Where nothing listens, the error names the place and is a StoreError."""
    store = RedisStore(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1"):
        store.put_many(MODEL, items_of("a"))
    assert store.stats().errors == 1


def test_it_is_used_again_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """After a restart, and when the pause is over, the same store works, with fresh connections."""
    clock = Clock()
    server = RedisServer()
    try:
        store = RedisStore(server.start().url, timeout=PATIENT, clock=clock)
        store.put_many(MODEL, items_of("a"))
        server.kill()
        with pytest.raises(StoreError):
            store.get_many(MODEL, [key_of("a")])
        server.start()
        with pytest.raises(StoreError):  # still within the pause
            store.get_many(MODEL, [key_of("a")])
        clock.now += 60
        with caplog.at_level(logging.INFO, logger="pytest_embedcache"):
            assert store.get_many(MODEL, [key_of("a")]) == {}
        assert "answers again" in caplog.text
        store.put_many(MODEL, items_of("a"))
        assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))
        store.close()
    finally:
        server.close()


def test_a_restart_between_two_calls_is_not_noticed() -> None:
    """Connections that died with the old server are replaced within the call."""
    server = RedisServer()
    try:
        store = RedisStore(server.start().url, timeout=PATIENT)
        store.put_many(MODEL, items_of("a"))
        server.kill()
        server.start()
        assert store.get_many(MODEL, [key_of("a")]) == {}
        assert store.stats().errors == 0
        store.close()
    finally:
        server.close()


def test_a_full_server_refuses_writes_and_answers_reads() -> None:
    """Out of memory is an error of writing; reading goes on at once."""
    server = RedisServer("--maxmemory-policy", "noeviction")
    try:
        store = RedisStore(server.start().url, timeout=PATIENT)
        store.put_many(MODEL, items_of("a"))
        import redis

        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
        with pytest.raises(StoreError, match="memory"):
            store.put_many(MODEL, items_of("b"))
        assert equal(store.get_many(MODEL, [key_of("a"), key_of("b")]), items_of("a"))
        store.close()
    finally:
        server.close()


# ------------------------------------------------------------------------------ processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_makes_its_own_connections(store: RedisStore, client: Any) -> None:
    """Parent and child use the store at once, and get their own answers."""
    store.put_many(MODEL, items_of(*range(200)))
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            good = all(
                equal(store.get_many(MODEL, [key_of(n)]), items_of(n))
                for n in range(number, 200, 3)
            )
            os._exit(0 if good else 1)
        children.append(child)
    for n in range(200):
        assert equal(store.get_many(MODEL, [key_of(n)]), items_of(n))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def test_redis_is_imported_when_it_is_used() -> None:
    """Making the store imports no redis: a run whose vectors are all in SQLite never needs it."""
    code = (
        "import sys; from pytest_embedcache.vectors.redis import RedisStore\n"
        "RedisStore('redis://localhost'); print('redis' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ------------------------------------------------------------------------------ cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """Two nodes that share the slots."""
    import redis

    servers: list[RedisServer] = []
    try:
        for number in range(2):
            options = ("--cluster-enabled", "yes", "--cluster-config-file", f"n{number}.conf")
            servers.append(RedisServer(*options, port=free_port()))
            servers[-1].start()
        halves = [range(8192), range(8192, 16384)]
        for server, slots in zip(servers, halves, strict=True):
            with redis.Redis.from_url(server.url) as node:
                node.execute_command("CLUSTER", "ADDSLOTS", *slots)
        with redis.Redis.from_url(servers[0].url) as node:
            node.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[1].port)
        _await_cluster(servers)
        yield servers
    finally:
        for server in servers:
            server.close()


def _await_cluster(servers: list[RedisServer]) -> None:
    import redis

    deadline = time.monotonic() + 120
    for server in servers:
        with redis.Redis.from_url(server.url) as node:
            while node.cluster("INFO")["cluster_state"] != "ok":
                assert time.monotonic() < deadline, "the cluster does not form"
                time.sleep(0.02)


class TestRedisCluster(VectorStoreContract):
    @pytest.fixture
    def store(self, cluster: list[RedisServer]) -> Iterator[RedisStore]:
        import redis

        for server in cluster:
            with redis.Redis.from_url(server.url) as node:
                node.flushall()
        store = RedisStore(f"redis://127.0.0.1:{cluster[0].port}", cluster=True, timeout=PATIENT)
        yield store
        store.close()

    def test_the_vectors_lie_on_both_nodes(
        self, store: RedisStore, cluster: list[RedisServer]
    ) -> None:
        """The keys are spread over the slots, and the memory is that of both nodes."""
        import redis

        store.put_many(MODEL, items_of(*range(50)))
        sizes = []
        for server in cluster:
            with redis.Redis.from_url(server.url) as node:
                sizes.append(node.dbsize())
        assert min(sizes) > 5
        assert sum(sizes) == 50 == store.stats().entries

    def test_closing_it_closes_its_connections(self, store: RedisStore) -> None:
        """None is left to be found open by whoever collects it."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("ignore")
            gc.collect()  # what others have left
            warnings.simplefilter("always")
            store.put_many(MODEL, items_of(*range(50)))
            store.close()
            gc.collect()
        assert [str(warning.message) for warning in said] == []
