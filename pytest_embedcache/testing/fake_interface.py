"""What a fake has beside `encode`: the rest of a model's interface, and what it noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from pytest_embedcache.models.convert import Truncating
from pytest_embedcache.testing.faults import Faults
from pytest_embedcache.testing.spy import Call, Spy

__all__ = ["FakeInterface"]


class FakeInterface(Truncating):
    """Of a fake that has `dimension`, `spy`, and `encode` with its two roles."""

    #: By this, code that loads real models knows that it has not got one.
    embedcache_fake = True

    if TYPE_CHECKING:
        dimension: int
        device: str
        spy: Spy
        max_seq_length: int
        similarity_fn_name: str
        encode: Callable[..., Any]
        encode_query: Callable[..., Any]
        encode_document: Callable[..., Any]

    async def aencode(self, *args: Any, **kwargs: Any) -> Any:
        """`encode` beside the event loop."""
        return await _beside(self.encode, *args, **kwargs)

    async def aencode_query(self, *args: Any, **kwargs: Any) -> Any:
        """`encode_query` beside the event loop."""
        return await _beside(self.encode_query, *args, **kwargs)

    async def aencode_document(self, *args: Any, **kwargs: Any) -> Any:
        """`encode_document` beside the event loop."""
        return await _beside(self.encode_document, *args, **kwargs)

    @property
    def is_loaded(self) -> bool:
        """There is nothing to load."""
        return True

    def get_embedding_dimension(self) -> int:
        """The number of columns of what `encode` returns."""
        return min(self.dimension, self.truncate_dim or self.dimension)

    def get_sentence_embedding_dimension(self) -> int:
        """The older name of `get_embedding_dimension`."""
        return self.get_embedding_dimension()

    def get_max_seq_length(self) -> int:
        """In tokens; a fake cuts nothing."""
        return self.max_seq_length

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Each with each: shape (n, m); a tensor where torch is installed, as a model's is."""
        from pytest_embedcache.vectors.similarity import similarity

        return similarity(self.similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The i-th of the first with the i-th of the second: shape (n,)."""
        from pytest_embedcache.vectors.similarity import pairwise

        return pairwise(self.similarity_fn_name, embeddings1, embeddings2)

    def to(self, device: Any) -> Self:
        """Move nothing, and note where to."""
        self.device = str(device)
        return self

    def eval(self) -> Self:
        """Nothing to switch off."""
        return self

    @property
    def calls(self) -> list[Call]:
        """Every call of it, and of others that share its spy."""
        return self.spy.calls

    @property
    def texts(self) -> list[str]:
        """The texts of all calls, in order."""
        return self.spy.texts

    @property
    def batch_sizes(self) -> list[int]:
        """How many texts each call had."""
        return self.spy.batch_sizes

    @property
    def faults(self) -> Faults:
        """Misbehaviour of calls to come."""
        return self.spy.faults

    def load_count(self, name: str | None = None) -> int:
        """How often a fake of this spy was constructed; None counts all."""
        return self.spy.load_count(name)


async def _beside(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import asyncio  # 11 ms, for those who have a loop and so have imported it

    return await asyncio.to_thread(function, *args, **kwargs)
