from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_embedcache.testing.contracts import VectorStoreContract
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.sqlite import SqliteStore
from pytest_embedcache.vectors.tiered import TieredStore


class TestTieredStore(VectorStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[TieredStore]:
        store = TieredStore([MemoryStore(), SqliteStore(tmp_path)])
        yield store
        store.close()
