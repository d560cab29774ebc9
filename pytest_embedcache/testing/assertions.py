"""Assertions about meaning: what fails shows what was found.

They take any model that has `encode`: a fake, a `CachedModel`, a replayed one, a plain
`SentenceTransformer`. Without pytest, and without torch where the model needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["assert_dissimilar", "assert_ranking", "assert_similar"]

#: Two similarities nearer than this are equal: encoders differ by as much between batches.
_EQUAL = 1e-6
_SHOWN = 10
_WIDTH = 60

Texts = str | Sequence[str]


def assert_similar(model: Any, a: Texts, b: Texts, *, at_least: float = 0.7) -> None:
    """Every text of `a` has a cosine of `at_least` with every text of `b`.

    One call of `encode`, without a role.

    Raises:
        AssertionError: Some have less; all similarities are in it, the least first.
        ValueError: There is no text to compare.
    """
    __tracebackhide__ = True
    _assert_pairs(
        model, a, b, lambda found: found >= at_least, f"at least {at_least:g}", least=True
    )


def assert_dissimilar(model: Any, a: Texts, b: Texts, *, at_most: float = 0.3) -> None:
    """No text of `a` has a cosine above `at_most` with a text of `b`.

    One call of `encode`, without a role.

    Raises:
        AssertionError: Some have more; all similarities are in it, the greatest first.
        ValueError: There is no text to compare.
    """
    __tracebackhide__ = True
    _assert_pairs(model, a, b, lambda found: found <= at_most, f"at most {at_most:g}", least=False)


def assert_ranking(
    model: Any, query: str, documents: Sequence[str], expected: Sequence[str | int]
) -> None:
    """The documents most similar to the query are the expected ones, in their order.

    One call of `encode_query` and one of `encode_document`; of `encode`, for a model without
    roles. Ranked by the model's own similarity, a cosine where it names none. Documents whose
    similarities are equal to 1e-6 may stand in either order.

    Args:
        expected: Documents, or their indexes, best first. Those that are left out only have to
            come after them.

    Raises:
        AssertionError: They are not; the whole ranking is in it.
        ValueError: An expected document is not among the documents, or is there twice.
    """
    __tracebackhide__ = True
    import numpy as np

    wanted = [_index(item, documents) for item in expected]
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError("expected names one document or more, each of them once")
    ask = getattr(model, "encode_query", None) or model.encode
    rank = getattr(model, "encode_document", None) or model.encode
    found = _similarities(model, _floats(ask([query])), _floats(rank(list(documents))))[0]
    rest = [index for index in range(len(documents)) if index not in wanted]
    order = [*wanted, max(rest, key=lambda i: found[i])] if rest else wanted
    if all(found[a] >= found[b] - _EQUAL for a, b in pairwise(order)):
        return
    place = {index: number for number, index in enumerate(wanted, 1)}
    lines = [f"the documents are not ranked as expected for the query {_short(query)}"]
    lines.append("  rank  expected  similarity  document")
    for number, index in enumerate(np.argsort(-found, kind="stable"), 1):
        due = place.get(int(index), "")
        if number <= _SHOWN or due:
            lines.append(f"  {number:4}  {due:8}  {found[index]:10.4f}  {_short(documents[index])}")
    raise AssertionError("\n".join(lines))


def _assert_pairs(
    model: Any, a: Texts, b: Texts, holds: Callable[[Any], Any], bound: str, *, least: bool
) -> None:
    __tracebackhide__ = True
    import numpy as np

    first, second = _listed(a), _listed(b)
    rows = _floats(model.encode([*first, *second]))
    found = _cosines(rows[: len(first)], rows[len(first) :])
    if holds(found).all():  # and so not where one is NaN
        return
    order = np.argsort(found if least else -found, axis=None, kind="stable")
    pairs = [divmod(int(place), len(second)) for place in order]
    wrong = int((~holds(found)).sum())
    lines = [f"{wrong} of {found.size} similarities {'is' if wrong == 1 else 'are'} not {bound}"]
    for i, j in pairs[:_SHOWN]:
        sign = " " if holds(found[i, j]) else "✗"
        lines.append(f"  {sign} {found[i, j]:7.4f}  {_short(first[i])} and {_short(second[j])}")
    if len(pairs) > _SHOWN:
        lines.append(f"    and {len(pairs) - _SHOWN} more")
    lines += _nearest(first, second, found)
    raise AssertionError("\n".join(lines))


def _nearest(first: list[str], second: list[str], found: np.ndarray) -> Iterator[str]:
    """For each text of several, the one that it is nearest to."""
    if len(second) > 1:
        for text, row in zip(first[:_SHOWN], found, strict=False):
            best = int(row.argmax())
            yield f"  nearest to {_short(text)} is {_short(second[best])} ({row[best]:.4f})"


def _similarities(model: Any, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """By the model's own name of a similarity, in which more alike is larger."""
    import numpy as np

    name = getattr(model, "similarity_fn_name", None) or "cosine"
    if name == "cosine":
        return _cosines(first, second)
    if name == "dot":
        return np.asarray(first @ second.T)
    order = {"euclidean": 2, "manhattan": 1}[str(name)]
    return np.asarray(-np.linalg.norm(first[:, None] - second[None], ord=order, axis=-1))


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    import numpy as np

    lengths = np.outer(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    return np.asarray(first @ second.T / np.maximum(lengths, 1e-12))


def _floats(rows: Any) -> np.ndarray:
    """float64 of shape (n, dimension), of an array or a tensor on any device."""
    import numpy as np

    if hasattr(rows, "detach"):
        rows = rows.detach().cpu().float()
    return np.asarray(rows, dtype=np.float64)


def _listed(texts: Texts) -> list[str]:
    listed = [texts] if isinstance(texts, str) else list(texts)
    if not listed:
        raise ValueError("there is no text to compare: give one, or several")
    return listed


def _index(item: str | int, documents: Sequence[str]) -> int:
    if isinstance(item, str) and item in documents:
        return list(documents).index(item)
    if isinstance(item, int) and 0 <= item < len(documents):
        return item
    raise ValueError(f"expected {item!r} is neither one of the documents nor the index of one")


def _short(text: str) -> str:
    return repr(text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…")
