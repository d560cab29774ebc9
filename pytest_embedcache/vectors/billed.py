"""A call of a model whose provider counts tokens: they are noted beside its vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["encoded"]


def encoded(
    model: Any,
    texts: Sequence[str],
    count: Callable[..., object],
    *,
    told: dict[str, int | None] | None = None,
    **arguments: Any,
) -> Any:
    """The array of `model.encode`; `count` gets `billed` and `tokens`, where the model knows them.

    `told` gets the tokens of each text, None where nobody has counted them. `arguments` are those
    of `encode`.
    """
    bill = getattr(model, "encode_billed", None)
    if bill is None:
        rows = model.encode(texts, convert_to_numpy=True, **arguments)
        if told is not None:
            told.update(dict.fromkeys(texts))
        return rows
    found = bill(texts, **arguments)
    if told is not None:
        told.update(zip(texts, found.tokens, strict=True))
    counted = [tokens for tokens in found.tokens if tokens is not None]
    if counted:
        count(billed=len(counted), tokens=sum(counted))
    return found.rows
