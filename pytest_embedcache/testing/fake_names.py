"""Which dimension the fake of a model has: that of the model's family, or what a test says."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DEFAULT_DIMENSION", "DIMENSIONS", "dimension_of", "short_name"]

#: By a part of the name, lower case; the first that occurs counts.
DIMENSIONS = {
    "minilm": 384,
    "mpnet": 768,
    "distilroberta": 768,
    "bge-small": 384,
    "bge-base": 768,
    "bge-large": 1024,
    "e5-small": 384,
    "e5-base": 768,
    "e5-large": 1024,
    "gte-small": 384,
    "gte-base": 768,
    "gte-large": 1024,
    "bge-m3": 1024,
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
DEFAULT_DIMENSION = 384


def short_name(name: str) -> str:
    """The name without the organisation that it would have anyway."""
    return name.removeprefix("sentence-transformers/")


def dimension_of(name: str, dimensions: Mapping[str, int] | None = None) -> int:
    """The dimension of the model `name`: as in `dimensions`, else that of its family."""
    for key, size in (dimensions or {}).items():
        if short_name(key) == short_name(name):
            return size
    lower = name.lower()
    return next((d for part, d in DIMENSIONS.items() if part in lower), DEFAULT_DIMENSION)
