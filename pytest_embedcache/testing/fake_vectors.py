"""The vectors of fakes: the same bits on every platform and in every Python.

Whole numbers until the last step: features are counted and squares are summed as integers, which no
BLAS, no SIMD and no order of summation changes. Then each component is one square root, one
division and one rounding, and IEEE 754 says what those are. Of Unicode's tables, which grow with
every version, nothing is used that is not frozen.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.encoding import frame
from pytest_embedcache.testing.fake_table import from_table

if TYPE_CHECKING:
    import numpy as np

__all__ = ["KINDS", "MAX_DIMENSION", "fake_vector", "fake_vectors"]

#: Up to here the sum of squares of 24-bit numbers is a 64-bit one.
MAX_DIMENSION = 16_384

#: Length, in whole numbers, to which the parts of a lexical vector are brought to be added.
_LENGTH = 2**20
#: What the exact text, and the role, weigh beside the words: as lengths, of those of the words.
_EXACT = 0.02
_ROLE = 0.15

#: Letters and digits as ranges that are written down here. Not `\w`, which means more in each new
#: version of Unicode.
_WORD = re.compile(
    "[0-9a-z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u1fff\u2c00-\u2dff\u3005-\u3007"
    "\u3041-\ud7ff\uf900-\ufdff\ufe70-\ufefc\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc"
    "\U00010000-\U0010ffff]+"
)
#: Below, what the lower case of a letter is can no longer change.
_FOLDED = "\u0590"
#: They say little about what a sentence is about.
_LITTLE_WORDS = """
    a all also an and any are as at be been but by can could did do does each for from had has have
    he her him his how i if in into is it its may me might must my no not of on only onto or our out
    over she should so some such than that the their them then there these they this those to under
    up us was we were what when where which who why will with would you your
"""
_LITTLE = frozenset(_LITTLE_WORDS.split())
#: Of a word against one that says little; of a word itself against all its trigrams together.
_MUCH, _WHOLE, _GRAMS = 5, 8, 16
#: Components that one feature touches: with fewer, words that fall together would be alike.
_SPREAD = 8


def fake_vectors(
    kind: str,
    texts: Sequence[str],
    dimension: int,
    *,
    model: str = "",
    role: str | None = None,
    table: Mapping[Any, Any] | None = None,
) -> np.ndarray:
    """The vectors of `texts`: float32 of shape (n, dimension), row i for text i.

    Of unit length, but for those of a table.

    Args:
        kind: One of `KINDS`.
        texts: With their prompts.
        dimension: 1 to `MAX_DIMENSION`.
        model: Its name; the vectors of two models have nothing in common, but for a table's.
        role: `query`, `document` or None, which are three.
        table: Of the kind `table`.
    """
    import numpy as np

    if not texts:
        return np.empty((0, dimension), dtype=np.float32)
    if kind == "table":
        return from_table(table or {}, texts, dimension, role)
    return _unit(_MADE[kind](texts, dimension, model, role))


def fake_vector(model: str, text: str, dimension: int) -> np.ndarray:
    """The vector of `text` of the kind `hash`: float32 of shape (dimension,), of unit length."""
    found: np.ndarray = fake_vectors("hash", [text], dimension, model=model)[0]
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    """int64 of shape (n, dimension), each below 2**24, as float32 of unit length."""
    import numpy as np

    lengths = np.sqrt((rows * rows).sum(axis=1).astype(np.float64))
    lengths[lengths == 0] = 1
    return np.asarray(rows / lengths[:, None], dtype=np.float32)


def _hash(texts: Sequence[str], dimension: int, model: str, role: str | None) -> np.ndarray:
    """Independent directions: SHAKE-256 of everything that decides a vector, 24 bits a component.

    Two texts are alike where SHAKE-256 collides, which has a strength of 256 bits: among a million
    texts with a probability below 1e-64 (n²/2 pairs, 2**-256 each), from 11 components on, which
    have as many bits.
    """
    import numpy as np

    head = [model.encode(), str(dimension).encode()]
    tail = [] if role is None else [role.encode()]
    digests = [
        hashlib.shake_256(frame([*head, _bytes(text), *tail])).digest(4 * dimension)
        for text in texts
    ]
    raw = np.frombuffer(b"".join(digests), dtype="<u4").reshape(len(texts), dimension)
    # Odd, and so never zero; as many above zero as below.
    return 2 * (raw.astype(np.int64) >> 8) - (2**24 - 1)


def _constant(texts: Sequence[str], dimension: int, model: str, role: str | None) -> np.ndarray:
    """One direction for all texts and roles."""
    import numpy as np

    return np.repeat(_hash([""], dimension, model, None), len(texts), axis=0)


def _lexical(texts: Sequence[str], dimension: int, model: str, role: str | None) -> np.ndarray:
    """Words and the trigrams in them, hashed: what shares words is alike.

    A little of the exact text is added, so that no two texts have one vector, and of the role.
    """
    import numpy as np

    digests: list[bytes] = []
    weights: list[int] = []
    counts: list[int] = []
    for text in texts:
        before = len(weights)
        for word in _words(text):
            digest, values = _features(word)
            digests.append(digest)
            weights += values
        counts.append(len(weights) - before)
    # The place of a feature depends on the model: two models have nothing in common.
    raw = np.frombuffer(b"".join(digests), dtype="<u4")
    places = ((raw ^ np.uint32(_seed(model))) >> np.uint32(1)) % np.uint32(dimension)
    rows = np.repeat(np.arange(len(texts)), np.array(counts) * _SPREAD)
    signed = np.repeat(np.array(weights, dtype=np.float64), _SPREAD) * (1 - 2.0 * (raw & 1))
    # Sums of whole numbers below 2**53, and so exact.
    flat = np.bincount(rows * dimension + places, signed, len(texts) * dimension)
    total = flat.astype(np.int64).reshape(len(texts), dimension)
    total = _scaled(total, _LENGTH)
    total += _scaled(_hash(texts, dimension, model, role), int(_LENGTH * _EXACT))
    if role is not None:
        total += _scaled(_hash([f"role {role}"], dimension, model, None), int(_LENGTH * _ROLE))
    return total


def _scaled(rows: np.ndarray, length: int) -> np.ndarray:
    """Whole numbers of about this length in each row; a row of zeros stays one."""
    import numpy as np

    squares = (rows * rows).sum(axis=1)
    lengths = np.array([max(1, math.isqrt(int(square))) for square in squares], dtype=np.int64)
    return np.asarray(rows * length // lengths[:, None])


def _words(text: str) -> list[str]:
    if text.isascii():
        return _WORD.findall(text.lower())
    return _WORD.findall("".join(c.lower() if c < _FOLDED else c for c in text))


@functools.lru_cache(maxsize=65_536)
def _features(word: str) -> tuple[bytes, tuple[int, ...]]:
    """Digests of a word and its trigrams, `_SPREAD` numbers of 32 bits each, and their weights."""
    framed = f"<{word}>"
    grams = [framed[i : i + 3] for i in range(len(framed) - 2)]
    much = 1 if word in _LITTLE else _MUCH
    each = max(1, math.isqrt(_GRAMS * _GRAMS // len(grams))) * much
    names = ["w" + word, *("g" + gram for gram in grams)]
    digests = (hashlib.blake2b(_bytes(name), digest_size=4 * _SPREAD).digest() for name in names)
    return b"".join(digests), (_WHOLE * much, *(each for _ in grams))


@functools.lru_cache(maxsize=1024)
def _seed(model: str) -> int:
    return int.from_bytes(hashlib.blake2b(model.encode(), digest_size=4).digest(), "little")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


#: Kind -> (texts, dimension, model, role) -> int64 of shape (n, dimension).
_MADE: dict[str, Callable[[Sequence[str], int, str, str | None], np.ndarray]] = {
    "lexical": _lexical,
    "hash": _hash,
    "constant": _constant,
}
KINDS = (*_MADE, "table")
