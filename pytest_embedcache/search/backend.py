"""`VectorBackend`: what finds candidates, whatever it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BACKENDS", "VectorBackend"]

#: The values of `vector_backend`, beside `auto`.
BACKENDS = ("exact", "sqlite-vec", "approximate")


class VectorBackend(Protocol):
    """A search structure made from an index's rows, which can be made from them again.

    The rows are the truth: what a backend returns are candidates, whose distances are computed from
    the rows, and rows that it does not cover are searched without it. So all backends give one
    answer, and one that is damaged, missing or behind costs time only.
    """

    #: One of `BACKENDS`.
    name: str
    #: Whether a row that it leaves out is no nearer than the last that it returns.
    is_exact: bool
    #: Whether it is chosen for want of memory.
    saves_memory: bool
    #: The rows 0 to `covered` - 1 of the index are in it, also those removed since.
    covered: int
    #: The most rows that one call returns.
    limit: int
    #: By how much a cosine that it returns may be wrong.
    error: float

    def nearest(self, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows (int64) nearest to a query, nearest first, and their cosines (float32).

        `query` is a float32 vector as `lifting.lift_query` makes it. Fewer than `count` come where
        there are no more.

        Raises `OSError` where the structure cannot be used.
        """
        ...

    def refresh(self) -> None:
        """Look how far it goes by now: another process may have extended it. Raises `OSError`."""
        ...

    def close(self) -> None:
        """Let go of files and connections; closing again does nothing."""
        ...
