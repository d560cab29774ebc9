"""A call of a model whose provider counts tokens: they are noted beside its vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["encoded"]


def encoded(
    model: Any, texts: Sequence[str], count: Callable[..., object], **arguments: Any
) -> Any:
    """The array of `model.encode`; `count` gets `billed` and `tokens`, where the model knows them.

    `arguments` are those of `encode`.
    """
    bill = getattr(model, "encode_billed", None)
    if bill is None:
        return model.encode(texts, convert_to_numpy=True, **arguments)
    found = bill(texts, **arguments)
    told = [tokens for tokens in found.tokens if tokens is not None]
    if told:
        count(billed=len(told), tokens=sum(told))
    return found.rows
