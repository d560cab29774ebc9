"""The service with a real Redis that is killed and comes back under load."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.encoders import right, world
from support.redis_server import RedisServer
from support.serving import serving

from pytest_embedcache.service.caches import redis_memory

redis = pytest.importorskip("redis")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    found = RedisServer().start()
    yield found
    found.close()


def test_another_process_finds_what_this_one_stored(server: RedisServer, tmp_path: Path) -> None:
    """Through the client that was given, which stays the caller's."""
    client = redis.Redis.from_url(server.url)
    w = world()
    with serving(tmp_path, w, cache=None, redis_client=client) as s:
        s.sync.embed_batch(["a", "b"])
        assert (redis_memory(s.service._calls.cache) or 0) > 100_000
    (tmp_path / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBEDCACHE_DIR", str(tmp_path / "elsewhere"))
        other = world()
        with serving(tmp_path, other, cache=None, redis_client=client) as s:
            found = s.sync.embed_batch(["a", "b"])
            assert found.cached_count == 2
            assert found.embeddings.tobytes() == right(["a", "b"])
            assert other.backend.loads == []
    assert client.ping()
    client.close()


def test_it_goes_on_without_a_redis_that_was_killed(server: RedisServer, tmp_path: Path) -> None:
    """No call fails and no vector is wrong, before, meanwhile, and when it is back."""
    client = redis.Redis.from_url(server.url, socket_timeout=5)
    with serving(tmp_path, cache=None, redis_client=client) as s, ThreadPoolExecutor(4) as pool:

        def load(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(40):
                texts = [f"{chance.randrange(400)}" for _ in range(5)]
                assert s.sync.embed_batch(texts).embeddings.tobytes() == right(texts)

        for number, change in enumerate((lambda: None, server.kill, server.start)):
            running = [pool.submit(load, 10 * number + i) for i in range(4)]
            change()
            for one in running:
                one.result(60)
        metrics = s.service.get_metrics()
        assert metrics["total_errors"] == 0
        (tier,) = (tier for tier in metrics["tiers"] if tier["name"] == "redis")
        assert tier["errors"] + tier["skipped"] > 0
    client.close()
