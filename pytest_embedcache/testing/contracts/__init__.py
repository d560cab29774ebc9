"""What an implementation promises, as tests to inherit: subclass, and give the one fixture.

    class TestMyModel(EmbeddingModelContract):
        lacks = {"roles": "it treats queries and documents alike"}

        @pytest.fixture
        def model(self):
            return MyModel()

A test's name is the claim. What an implementation cannot do it declares in `lacks`, and those tests
are skipped with the reason. For test modules only: beside the plugin this is the one package that
imports pytest. `pytest.register_assert_rewrite("pytest_embedcache.testing.contracts")` gives
detailed failures where the plugin is not installed.
"""

from __future__ import annotations

from pytest_embedcache.testing.contracts.backends import BackendContract
from pytest_embedcache.testing.contracts.capabilities import Contract, needs
from pytest_embedcache.testing.contracts.embedding_models import EmbeddingModelContract
from pytest_embedcache.testing.contracts.registries import ModelRegistryContract
from pytest_embedcache.testing.contracts.stores import VectorStoreContract
from pytest_embedcache.testing.contracts.vectors import (
    DIMENSION,
    MODEL,
    OTHER_MODEL,
    equal,
    items_of,
    key_of,
    vector_of,
)

__all__ = [
    "DIMENSION",
    "MODEL",
    "OTHER_MODEL",
    "BackendContract",
    "Contract",
    "EmbeddingModelContract",
    "ModelRegistryContract",
    "VectorStoreContract",
    "equal",
    "items_of",
    "key_of",
    "needs",
    "vector_of",
]
