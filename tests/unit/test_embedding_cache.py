"""The tests of the original, on fakes: one model per configuration, however many consumers.

On each of the registries in support/broken.py one of them fails, and only that one.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from embedding_manager import EmbeddingManager

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.testing.fakes import (
    FakeBackend,
    FakeSentenceTransformer,
    FakeSentenceTransformers,
)

MINILM = {"model": "all-MiniLM-L6-v2", "device": "cpu"}
MPNET = {"model": "all-mpnet-base-v2", "device": "cpu"}
THREADS = 10
#: Seconds after which a deadlock is a failure; nothing waits for it otherwise.
DEADLOCK = 120


class Gate(FakeBackend):
    """Lets nobody on until `count` threads have looked for the model and not found it.

    A registry looks, then has the spec resolved, and then looks again, or should.
    """

    count = 1

    def __init__(self, fakes: FakeSentenceTransformers) -> None:
        # Not by the fixture fake_sentence_transformer: that imports sentence-transformers.
        super().__init__(type("Fake", (FakeSentenceTransformer,), {"fakes": fakes}), fakes)
        self._arrived: set[int] = set()
        self._open = threading.Event()

    def prepare(self, spec: ModelSpec, artifacts: Any) -> ModelSpec:
        self._arrived.add(threading.get_ident())
        if len(self._arrived) >= self.count:
            self._open.set()
        assert self._open.wait(DEADLOCK), f"{len(self._arrived)} of {self.count} threads came"
        return super().prepare(spec, artifacts)


@pytest.fixture
def fakes() -> FakeSentenceTransformers:
    return FakeSentenceTransformers()


@pytest.fixture
def gate(fakes: FakeSentenceTransformers) -> Gate:
    return Gate(fakes)


@pytest.fixture
def registry(registry_class: type[ModelRegistry], gate: Gate) -> ModelRegistry:
    return registry_class(backends={"torch": gate, "fake": gate})


@pytest.fixture
def initializations(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The log's lines about a one-time initialization so far."""
    caplog.set_level(logging.INFO, logger="pytest_embedcache")
    return lambda: [line for line in caplog.messages if "one-time initialization" in line]


def test_cache_reuse_single_threaded(
    registry: ModelRegistry,
    fakes: FakeSentenceTransformers,
    initializations: Callable[[], list[str]],
) -> None:
    """Three consumers, each gone before the next one comes, have one model and one vector."""
    vectors = []
    for _ in range(3):
        manager = EmbeddingManager(MINILM, registry=registry)
        vectors.append(manager.vector("a cat"))
        del manager
        gc.collect()
    assert fakes.load_count() == 1
    assert initializations() == [
        "Loading SentenceTransformer model (one-time initialization): all-MiniLM-L6-v2 on cpu"
    ]
    assert all(np.array_equal(vector, vectors[0]) for vector in vectors)


def test_cache_thread_safety(
    registry: ModelRegistry,
    gate: Gate,
    fakes: FakeSentenceTransformers,
    initializations: Callable[[], list[str]],
) -> None:
    """Ten threads that all found no model have it loaded once, and are given the same object."""
    gate.count = THREADS
    managers = [EmbeddingManager(MINILM, registry=registry) for _ in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        vectors = list(pool.map(lambda manager: manager.vector("a cat"), managers))
    assert fakes.load_count() == 1
    assert len(initializations()) == 1
    assert len({id(manager.model) for manager in managers}) == 1
    assert [vector.shape for vector in vectors] == [(384,)] * THREADS


def test_different_configurations(
    registry: ModelRegistry,
    fakes: FakeSentenceTransformers,
    initializations: Callable[[], list[str]],
) -> None:
    """Two configurations are two models, 384 and 768 wide, each initialized once."""
    managers = [EmbeddingManager(config, registry=registry) for config in (MINILM, MPNET) * 2]
    assert [manager.vector("a cat").shape for manager in managers] == [(384,), (768,)] * 2
    assert [fakes.load_count(config["model"]) for config in (MINILM, MPNET)] == [1, 1]
    assert len(initializations()) == 2
    first, second, *again = [manager.model for manager in managers]
    assert again == [first, second]
    assert first is not second
