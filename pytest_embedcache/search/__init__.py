"""Search over what is stored: vectors by nearness, and texts by meaning and by word; on disk."""

from pytest_embedcache.search.hits import Hit, IndexStats
from pytest_embedcache.search.index import VectorIndex
from pytest_embedcache.search.semantic.entry import Entry
from pytest_embedcache.search.semantic.index import SemanticIndex
from pytest_embedcache.search.semantic.results import Result, Results

__all__ = ["Entry", "Hit", "IndexStats", "Result", "Results", "SemanticIndex", "VectorIndex"]
