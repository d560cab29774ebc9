"""Semantic indexes whose vectors are a pure function of their texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.search.semantic.index import SemanticIndex
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.tiered import TieredStore
from support.encoders import Files, PureBackend, pure_vector

__all__ = ["SIZE", "World", "document", "score", "sound"]

SIZE = 8
#: Queries and documents have prompts of their own: a vector in the wrong role is another.
PROMPTS = {"query": "ask: ", "document": "text: "}


class World:
    """A model, its store, and an index.

    Attributes:
        backend: Where the model's files are; `loads` are counted there.
        store: The vectors, in memory.
    """

    def __init__(self, path: Path, weights: str = "w") -> None:
        self.path = path
        self.backend = PureBackend(m=Files(weights, prompts=PROMPTS, size=SIZE))
        self.registry = ModelRegistry(backends={"torch": self.backend}, cache_dir=path)
        self.store = MemoryStore()
        self.cache = VectorCache(TieredStore([self.store]))
        self.model = CachedModel(self.registry, ModelSpec("m"), self.cache)

    def index(self, **options: object) -> SemanticIndex:
        """The index, opened by somebody who has the model."""
        return SemanticIndex(self.path / "index", self.model, **options)  # type: ignore[arg-type]

    @property
    def computed(self) -> int:
        """Vectors that the model computed."""
        return sum(tally["computed"] for tally in self.cache.tallies.as_dict().values())


def document(text: str, weights: str = "w") -> np.ndarray:
    """The one right vector of an entry."""
    return pure_vector(weights, (), 64, None, PROMPTS["document"] + text, size=SIZE)


def score(query: str, text: str, weights: str = "w") -> float:
    """The one right cosine of a query and an entry."""
    asked = pure_vector(weights, (), 64, None, PROMPTS["query"] + query, size=SIZE)
    return _cosine(asked, document(text, weights))


def sound(index: SemanticIndex, texts: dict[str, str]) -> None:
    """Fail unless the index holds these texts by id, with the right vectors, in every part."""
    found = index.search("anything", k=len(texts) + 5)
    assert found.by == "vectors", found.notice
    assert {result.id: result.text for result in found} == texts
    for result in found:
        assert abs(result.score - score("anything", result.text)) < 1e-5, result
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)
    assert len(index) == len(texts)
    for name, text in list(texts.items())[-3:]:
        words = {r.id for r in index.keyword_search(text, k=len(texts))}
        assert name in words, f"{text!r} is not found by its words"


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    wide = one.astype(np.float64), other.astype(np.float64)
    return float(wide[0] @ wide[1] / np.linalg.norm(wide[0]) / np.linalg.norm(wide[1]))
