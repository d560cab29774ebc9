"""Blocks in which vectors are cut, as a `SentenceTransformer` has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

__all__ = ["Truncating"]


class Truncating:
    """Of a class that has `truncate_dim`, and cuts what it encodes to that."""

    if TYPE_CHECKING:
        truncate_dim: int | None

    @contextlib.contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Inside the block `encode` cuts vectors to this dimension, unless the call says."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    @contextlib.contextmanager
    def truncate_sentence_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """The older name of `truncate_embeddings`."""
        with self.truncate_embeddings(truncate_dim):
            yield
