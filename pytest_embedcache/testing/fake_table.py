"""Vectors that a test gives: of a text, or of a text in a role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["columns_of", "content_of", "from_table"]


def from_table(
    table: Mapping[Any, Any], texts: Sequence[str], dimension: int, role: str | None
) -> np.ndarray:
    """The vectors as they were given: for a text in its role, or else for the text.

    Raises `FakeTextError`, for a text that is not there.
    """
    import numpy as np

    from pytest_embedcache.errors import FakeTextError

    rows = np.empty((len(texts), dimension), dtype=np.float32)
    for number, text in enumerate(texts):
        key = (role, text) if (role, text) in table else text
        if key not in table:
            known = tuple(k if isinstance(k, str) else k[1] for k in table)
            raise FakeTextError(text, known)
        rows[number] = table[key]
    return rows


def columns_of(table: Mapping[Any, Any], dimension: int | None) -> int:
    """The dimension of the vectors in it; raises `ValueError` where there are several."""
    shapes = {_row(value).shape for value in table.values()}
    shape = shapes.pop() if shapes else ()
    if shapes or len(shape) != 1 or dimension not in (None, *shape):
        raise ValueError(
            "the vectors of a table are one or more, all of the one dimension that the model has"
        )
    return int(shape[0])


def content_of(table: Mapping[Any, Any]) -> list[bytes]:
    """Bytes that differ for two tables; the order in which they were written does not count."""
    rows = sorted(
        (repr(key).encode("utf-8", "surrogatepass"), _row(value).tobytes())
        for key, value in table.items()
    )
    return [part for row in rows for part in row]


def _row(value: Any) -> np.ndarray:
    import numpy as np

    return np.asarray(value, dtype="<f4")
