"""One call of the service on its way: which of its texts have a vector, and what they cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EmptyTextError, EncodeError
from pytest_embedcache.models.openai.answers import estimated_tokens
from pytest_embedcache.service.pricing import cost_of
from pytest_embedcache.service.results import BatchEmbeddings, TextEmbedding

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.service.model_table import ModelRow

__all__ = ["Request", "checked"]


def checked(
    row: ModelRow, texts: Sequence[str], batch_size: int | None, dimensions: int | None
) -> tuple[str, ...]:
    """The texts of a call, as plain strings; raises what is wrong with its arguments."""
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {place} is a {type(text).__name__}, not a string")
        if not text and row.is_api:
            raise EmptyTextError(row.name, place)
    for name, value in (("batch_size", batch_size), ("dimensions", dimensions)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: give a number above 0")
    if dimensions is not None and row.dimension is not None and dimensions > row.dimension:
        raise ValueError(f"dimensions={dimensions}: {row.name} has {row.dimension}")
    # A subclass of str may join itself to a prompt in its own way, as Markup does.
    return tuple(map(str.__str__, texts))


class Request:
    """A call, its future, and what has arrived for it so far. Safe for threads.

    Args:
        row: The model's.
        role: `query` or `document`.
        texts: As they were given, an empty batch too.
        single: Whether the caller gave one text, and gets one vector.
        dimensions: To which the vectors are cut, None where they are not.
        done: Called with it once, when it has its result or its error.

    Attributes:
        future: Gets a `TextEmbedding` or a `BatchEmbeddings`.
        distinct: The texts, each of them once.
        began: When it was made, by `time.perf_counter`.
    """

    def __init__(
        self,
        row: ModelRow,
        role: str,
        texts: Sequence[str],
        *,
        single: bool,
        dimensions: int | None,
        done: Callable[[Request], object],
    ) -> None:
        self.row = row
        self.role = role
        self.texts = texts
        self.distinct = list(dict.fromkeys(texts))
        self.future: Future[Any] = Future()
        self.began = time.perf_counter()
        #: What was sent for this call, by text: the tokens that the provider counted.
        self.sent: dict[str, int | None] = {}
        self.error: BaseException | None = None
        self._single = single
        self._dimensions = dimensions
        self._done = done
        self._exact = True
        self._rows: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()
        self._is_over = False

    @property
    def is_given_up(self) -> bool:
        """Whether its caller does not wait any more, or has an error."""
        return self._is_over or self.future.cancelled()

    @property
    def cached_count(self) -> int:
        """Texts for which nothing was sent."""
        return sum(text not in self.sent for text in self.texts)

    @property
    def saved_tokens(self) -> int:
        """What these would have cost, estimated; a text that is here twice is counted once."""
        return sum(estimated_tokens(text) for text in self.distinct if text not in self.sent)

    def take(
        self,
        rows: Mapping[str, np.ndarray],
        sent: Mapping[str, int | None] | None = None,
        *,
        exact: bool = True,
    ) -> None:
        """Take vectors, and finish when they are all there.

        `sent` has those texts of `rows` that this call pays for. `exact` says that the provider
        has counted their tokens apart from the texts of others.
        """
        with self._lock:
            self._rows.update(rows)
            self.sent.update(sent or {})
            self._exact = self._exact and (exact or not sent)
            if self._is_over or len(self._rows) < len(self.distinct):
                return
            self._is_over = True
        self._finish(self._result)

    def fail(self, error: BaseException) -> None:
        """Finish with an error."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self.error = error

        def fails() -> Any:
            raise error

        self._finish(fails)

    def missing(self, found: Iterable[str]) -> list[str]:
        """Its texts, without those that were `found`."""
        there = set(found)
        return [text for text in self.distinct if text not in there]

    def _finish(self, result: Callable[[], Any]) -> None:
        if not self.future.set_running_or_notify_cancel():
            self._done(self)
            return
        try:
            found = result()
        except BaseException as error:
            self.error = error
            self._done(self)
            self.future.set_exception(error)
            return
        self._done(self)  # first: whoever has the result finds it counted
        self.future.set_result(found)

    def _result(self) -> TextEmbedding | BatchEmbeddings:
        import numpy as np

        if self.texts:
            lengths = {len(row) for row in self._rows.values()}
            if len(lengths) > 1:  # stored ones are of another dimension than new ones
                raise EncodeError(self.row.name, len(self.texts), tuple(sorted(lengths)))
            matrix = np.stack([self._rows[text] for text in self.texts])
        else:
            matrix = np.empty((0, self.row.dimension or 0), dtype=np.float32)
        if self._dimensions is not None:
            matrix = _cut(matrix, self._dimensions)
        self._rows = {}
        counted = [tokens for tokens in self.sent.values() if tokens is not None]
        whole = len(counted) == len(self.sent)
        tokens = sum(
            estimated_tokens(text) if tokens is None else tokens
            for text, tokens in self.sent.items()
        )
        saved = self.saved_tokens
        common: dict[str, Any] = {
            "dimension": int(matrix.shape[1]),
            "model": self.row.name,
            "tokens": tokens,
            "cost": cost_of(tokens, self.row.price) if self.sent else cost_of(0, None),
            "saved_tokens": saved,
            "saved": cost_of(saved, self.row.price),
            "is_estimate": not (whole and self._exact),
        }
        if self._single:
            return TextEmbedding(embedding=matrix[0], cached=not self.sent, **common)
        return BatchEmbeddings(embeddings=matrix, cached_count=self.cached_count, **common)


def _cut(matrix: np.ndarray, dimensions: int) -> np.ndarray:
    """The first columns, at unit length: what OpenAI's models mean by fewer dimensions."""
    import numpy as np

    if not 1 <= dimensions <= matrix.shape[1] and len(matrix):
        raise ValueError(f"dimensions={dimensions}: the model has {matrix.shape[1]}")
    cut = np.ascontiguousarray(matrix[:, :dimensions])
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    found: np.ndarray = np.divide(cut, lengths, out=cut, where=lengths > 0)
    return found
