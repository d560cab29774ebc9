"""What the embedding service returns: vectors, where they came from, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BatchEmbeddings", "GivenUp", "TextEmbedding"]


class GivenUp(NamedTuple):
    """What a service had not finished when it was closed.

    Attributes:
        calls: That were not answered.
        batches: That are still in a model, or on their way to a store.
    """

    calls: int
    batches: int


@dataclass(frozen=True, slots=True, eq=False)
class TextEmbedding:
    """The vector of one text.

    Attributes:
        embedding: float32 of shape (dimension,); the caller's own.
        dimension: Its length.
        model: The model's name in the table of models.
        cached: Whether it was in a store, and so cost nothing.
        tokens: That were sent for it, 0 where nothing was.
        cost: US dollars for these; 0 where nothing was sent, None where the price is not known.
        saved_tokens: That were not sent, because the vector was in a store.
        saved: US dollars for these; None where the price is not known.
        is_estimate: Whether `tokens` is an estimate (a token for four characters), because the
            provider did not say how many it counted for this text alone. `saved_tokens` always is.
    """

    embedding: np.ndarray
    dimension: int
    model: str
    cached: bool
    tokens: int
    cost: Decimal | None
    saved_tokens: int
    saved: Decimal | None
    is_estimate: bool


@dataclass(frozen=True, slots=True, eq=False)
class BatchEmbeddings:
    """The vectors of a batch, row i for text i; never fewer than there were texts.

    Attributes:
        embeddings: float32 of shape (n, dimension); the caller's own.
        dimension: Its columns.
        model: The model's name in the table of models.
        cached_count: Texts whose vector was in a store, and so cost nothing.
        tokens, cost, saved_tokens, saved, is_estimate: As in `TextEmbedding`, of all texts
            together. A text that is in the batch twice is sent once.
    """

    embeddings: np.ndarray
    dimension: int
    model: str
    cached_count: int
    tokens: int
    cost: Decimal | None
    saved_tokens: int
    saved: Decimal | None
    is_estimate: bool
