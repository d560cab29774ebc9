"""A call of a model whose provider counts tokens: they are noted beside its vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["encoded", "sliced"]


def sliced(model: Any, texts: list[str], size: int) -> Iterator[list[str]]:
    """`texts` in pieces of at most `size`, each of which is stored before the next is computed.

    Of a model behind an API as requests carry them: what is paid for is kept.
    """
    in_requests = getattr(model, "in_requests", None)
    if in_requests is not None:
        yield from in_requests(texts, size)
        return
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def encoded(
    model: Any,
    texts: Sequence[str],
    count: Callable[..., object],
    *,
    told: dict[str, int | None] | None = None,
    **arguments: Any,
) -> Any:
    """The array of `model.encode`; `count` gets `billed` and `tokens`, where the model knows them.

    `told` gets the tokens of each text, None where nobody has counted them; also where this raises,
    of what was answered until then. `arguments` are those of `encode`.
    """
    import numpy as np

    noted = {} if told is None else told
    encode_billed = getattr(model, "encode_billed", None)
    if encode_billed is None:
        rows = model.encode(texts, convert_to_numpy=True, **arguments)
        if np.shape(rows)[:1] == (len(texts),):
            noted.update(dict.fromkeys(texts))
        return rows

    def bill(sent: Sequence[str], tokens: Sequence[int | None]) -> None:
        noted.update(zip(sent, tokens, strict=True))
        counted = [one for one in tokens if one is not None]
        if counted:
            count(billed=len(counted), tokens=sum(counted))

    return encode_billed(texts, bill, **arguments)
