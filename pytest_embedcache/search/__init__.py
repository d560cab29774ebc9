"""Search over what is stored: vectors by nearness, on disk."""

from pytest_embedcache.search.hits import Hit, IndexStats
from pytest_embedcache.search.index import VectorIndex

__all__ = ["Hit", "IndexStats", "VectorIndex"]
