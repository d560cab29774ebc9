"""The SQLite store: the contract, its bounds, and what it does when the disk does not play along."""

from __future__ import annotations

import pytest
from pathlib import Path
from collections.abc import Iterator

from pytest_embedcache.testing.contracts import VectorStoreContract
from pytest_embedcache.vectors.sqlite import SqliteStore


class TestSqliteStore(VectorStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteStore]:
        store = SqliteStore(tmp_path)
        yield store
        store.close()
