"""A server whose Redis is killed and comes back while clients ask: none of them notices."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.redis_server import RedisServer
from support.served import Server, needs_serve, served

from pytest_embedcache.testing.fake_vectors import fake_vectors

pytestmark = needs_serve
MODEL = "all-MiniLM-L6-v2"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A real one."""
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.close()


class Load:
    """Clients that ask for old and new texts until they are told to stop, and check each row."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._answers = threading.Semaphore(0)
        self.wrong: list[str] = []
        self.answered = 0

    def client(self, number: int) -> None:
        connection = self._server.connection()
        count = 0
        while not self._over.is_set():
            count += 1
            texts = [f"old {count % 7}", f"new {number} {count}", "old 1"]
            body = json.dumps({"texts": texts})
            connection.request("POST", "/embed/raw", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            expected = fake_vectors("lexical", texts, 384, model=MODEL, role="document")
            if answer.status != 200 or content != np.asarray(expected, "<f4").tobytes():
                self.wrong.append(f"{answer.status} {content[:200]!r}")
            self.answered += 1
            self._answers.release()
        connection.close()

    def wait(self, answers: int) -> None:
        """For so many more answers."""
        for _ in range(answers):
            assert self._answers.acquire(timeout=60)

    def end(self) -> None:
        self._over.set()


def rounds_of_kills(redis: RedisServer, directory: Path, rounds: int, answers: int) -> None:
    with (
        served("--dir", str(directory), EMBEDCACHE_REDIS_URL=redis.url) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        load = Load(server)
        clients = [pool.submit(load.client, number) for number in range(4)]
        try:
            load.wait(answers)
            for _ in range(rounds):
                redis.kill()
                load.wait(answers)
                redis.start()
                load.wait(answers)
        finally:
            load.end()
        for client in clients:
            client.result(60)
        assert load.wrong == []
        assert load.answered >= answers * (1 + 2 * rounds)
        assert (
            b'embedcache_tier_errors_total{tier="redis"} 0.0' not in server.get("/metrics").content
        )


def test_a_redis_that_dies_and_comes_back_is_not_noticed(
    redis: RedisServer, tmp_path: Path
) -> None:
    """Every request is answered, each row is its text's, and the failures are counted."""
    rounds_of_kills(redis, tmp_path, rounds=1, answers=60)


@pytest.mark.stress
def test_a_redis_that_dies_again_and_again_is_not_noticed(
    redis: RedisServer, tmp_path: Path
) -> None:
    """The same twenty times, under thousands of requests."""
    rounds_of_kills(redis, tmp_path, rounds=20, answers=150)
