"""Texts that several callers want at the same time, encoded in one call of the model.

Nobody waits for company: while a call is under way, others queue up, and the next call takes what
is there. There is no thread: of those who wait, one makes the next call for all. The model host
has one for each of its models, and whoever serves many callers from one model can have one, too.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EncodeError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Batcher", "Batches"]

#: (texts, options) -> an array of shape (n, dimension), row i for text i; never called twice at
#: once by one `Batcher`.
Encode = Callable[[list[str], Mapping[str, Any]], Any]
Options = tuple[tuple[str, Any], ...]
#: Texts of one call. A model splits them again by its batch size, the longest first.
SIZE = 128


@dataclass
class Batches:
    """What a `Batcher` did.

    Attributes:
        calls: Of the model.
        asked: Texts that callers wanted.
        encoded: Texts that the model was given; the others were somebody's already.
        largest: Texts of the largest call.
        shared: Calls that served more than one caller.
        sizes: How many calls had so many texts, by the power of two that holds them.
    """

    calls: int = 0
    asked: int = 0
    encoded: int = 0
    largest: int = 0
    shared: int = 0
    sizes: Counter[int] = field(default_factory=Counter)

    def count(self, texts: int, callers: int) -> None:
        """One call."""
        self.calls += 1
        self.encoded += texts
        self.largest = max(self.largest, texts)
        self.shared += callers > 1
        self.sizes[1 << max(0, texts - 1).bit_length()] += 1

    def as_dict(self) -> dict[str, Any]:
        """The same in built-in types; sizes are strings, as in JSON."""
        plain = {name: value for name, value in vars(self).items() if name != "sizes"}
        return plain | {"sizes": {str(size): self.sizes[size] for size in sorted(self.sizes)}}


@dataclass(eq=False)
class _Asked:
    """Some texts of one caller; `known` are rows of a call that was under way when he came."""

    texts: list[str]
    options: Options
    known: dict[str, np.ndarray] = field(default_factory=dict)
    rows: list[np.ndarray] | None = None
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.rows is not None or self.error is not None


class Batcher:
    """Callers in front of one model.

    Args:
        encode: Has the model, and whatever lock it needs.
        name: The model's, for errors.
        size: Texts of one call at most.

    Attributes:
        batches: What was done, for who wants to know.
    """

    def __init__(self, encode: Encode, name: str, *, size: int = SIZE) -> None:
        self.batches = Batches()
        self._encode = encode
        self._name = name
        self._size = size
        self._changed = threading.Condition()
        self._waiting: deque[_Asked] = deque()
        self._calling = False

    def rows(
        self, texts: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> list[np.ndarray]:
        """The rows of `texts`, in their order; they may be others', too, and are not to be written.

        `options` are arguments of the model's `encode`; calls are shared by those whose options are
        equal.

        Raises:
            EncodeError: The model returned another number of rows than it got texts.
            Exception: Whatever `encode` raises for these texts.
        """
        named = tuple(sorted((options or {}).items()))
        parts = [
            _Asked(list(texts[start : start + self._size]), named)
            for start in range(0, len(texts), self._size)
        ]
        with self._changed:
            self.batches.asked += len(texts)
            self._waiting.extend(parts)
        for part in parts:
            self._serve_until(part)
        for part in parts:
            if part.error is not None:
                raise part.error
        return [row for part in parts for row in part.rows or ()]

    def _serve_until(self, mine: _Asked) -> None:
        """Wait for whoever calls the model; where nobody does, call it."""
        while True:
            with self._changed:
                while self._calling and not mine.is_done:
                    self._changed.wait()
                if mine.is_done:
                    return
                self._calling = True
                batch = self._next()
            try:
                self._call(batch)
            finally:
                with self._changed:
                    self._calling = False
                    self._changed.notify_all()

    def _next(self) -> list[_Asked]:
        """The first that waits, and those that fit into its call."""
        first = self._waiting.popleft()
        batch, room = [first], self._size - len(first.texts)
        for other in list(self._waiting):
            if other.options == first.options and len(other.texts) <= room:
                self._waiting.remove(other)
                batch.append(other)
                room -= len(other.texts)
        return batch

    def _call(self, batch: list[_Asked]) -> None:
        try:
            self._answer(batch)
        except BaseException as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for part in batch:  # one caller's bad text is not the others' affair
                self._call([part])

    def _answer(self, batch: list[_Asked]) -> None:
        wanted = dict.fromkeys(text for part in batch for text in part.texts)
        known = {text: row for part in batch for text, row in part.known.items()}
        missing = [text for text in wanted if text not in known]
        if missing:
            known |= self._encoded(missing, batch)
        for part in batch:
            part.rows = [known[text] for text in part.texts]

    def _encoded(self, missing: list[str], batch: list[_Asked]) -> dict[str, np.ndarray]:
        import numpy as np

        options = batch[0].options
        matrix = np.asarray(self._encode(missing, dict(options)))
        if matrix.ndim != 2 or len(matrix) != len(missing):
            raise EncodeError(self._name, len(missing), matrix.shape)
        self.batches.count(len(missing), len(batch))
        made = dict(zip(missing, matrix, strict=True))
        with self._changed:
            # Who came meanwhile and wants one of these does not have it computed again.
            for part in self._waiting:
                if part.options == options:
                    part.known.update({text: made[text] for text in part.texts if text in made})
        return made
