"""What an embeddings endpoint answered: the vectors, and how many tokens it counted."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EncodeError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["CHARACTERS_PER_TOKEN", "apportioned", "estimated_tokens", "rows_of", "tokens_of"]

#: Of English, by OpenAI's own rule of thumb (https://platform.openai.com/tokenizer).
CHARACTERS_PER_TOKEN = 4


def rows_of(answer: Any, count: int, model: str) -> np.ndarray:
    """The vectors of an answer as float32 of shape (count, dimension), row i for text i.

    By the rows' `index`, or in their order where the service gives none.

    Raises `EncodeError` where that is not one row of one length for each text.
    """
    import numpy as np

    try:
        listed = list(answer.data or ())
        places = [getattr(row, "index", None) for row in listed]
        if places == [None] * len(places):
            places = list(range(len(places)))
        rows = {place: _vector(row.embedding) for place, row in zip(places, listed, strict=True)}
    except (AttributeError, TypeError, ValueError) as error:
        # A page in place of an answer, as from a base URL without its /v1, or rows of no numbers.
        raise EncodeError(model, count, ()) from error
    lengths = {len(row) for row in rows.values()}
    if len(listed) != count or rows.keys() != set(range(count)) or len(lengths) != 1:
        raise EncodeError(model, count, (len(rows), *sorted(lengths)))
    return np.stack([rows[place] for place in range(count)])


def tokens_of(answer: Any, name: str = "total_tokens") -> int:
    """What the usage of an answer says; 0 where it says nothing, or no number."""
    found = getattr(getattr(answer, "usage", None), name, None)
    return found if isinstance(found, int) and found > 0 else 0


def estimated_tokens(text: str) -> int:
    """A token for four characters, rounded up; the real count needs the model's vocabulary."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def apportioned(tokens: int, texts: Sequence[str]) -> list[int]:
    """The share of each text in what was counted for all of them; the shares add up to `tokens`.

    By the texts' lengths, and by the largest remainders, so that no share is off by a whole token.
    """
    weights = [max(1, len(text)) for text in texts]
    whole = sum(weights)
    shares = [tokens * weight // whole for weight in weights]
    by_rest = sorted(range(len(texts)), key=lambda i: -(tokens * weights[i] % whole))
    for place in by_rest[: tokens - sum(shares)]:
        shares[place] += 1
    return shares


def _vector(embedding: Any) -> np.ndarray:
    """float32 of one row: base64, or numbers where the service does not know base64."""
    import numpy as np

    if isinstance(embedding, str):
        row = np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    else:
        row = np.array(embedding, dtype=np.float32)
    if row.ndim != 1 or not row.size:
        raise ValueError(f"an embedding of shape {row.shape}")
    return row.astype(np.float32)
