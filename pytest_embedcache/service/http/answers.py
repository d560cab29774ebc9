"""Answers as bytes: JSON written once, straight from float32, or the float32 itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

from pytest_embedcache.service.openai_protocol import in_base64

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.service.results import BatchEmbeddings, TextEmbedding

__all__ = ["as_json", "batch", "openai", "raw", "text"]

RAW = "application/octet-stream"
_JSON = "application/json"
#: Numbers that are written at once, in about a millisecond: nothing else runs meanwhile, in any
#: thread. An answer with more of them is written beside the event loop.
_NUMBERS = 16_384


def text(found: TextEmbedding) -> Response:
    """One vector."""
    return as_json(
        {
            "embedding": found.embedding,
            "dimension": found.dimension,
            "model": found.model,
            "cached": found.cached,
            "cost": found.cost,
        }
    )


async def batch(found: BatchEmbeddings) -> Response:
    """The vectors of a batch."""
    return await _with_rows(
        "embeddings",
        found.embeddings,
        lambda start, end: found.embeddings[start:end],
        {
            "dimension": found.dimension,
            "model": found.model,
            "total_embeddings": len(found.embeddings),
            "cached_count": found.cached_count,
            "total_cost": found.cost,
        },
    )


def raw(found: BatchEmbeddings) -> Response:
    """The rows as little-endian float32, one after the other, and the rest in headers."""
    headers = {
        "X-Embedcache-Rows": str(len(found.embeddings)),
        "X-Embedcache-Dimension": str(found.dimension),
        "X-Embedcache-Model": found.model,
        "X-Embedcache-Cached": str(found.cached_count),
        "X-Embedcache-Cost": "unknown" if found.cost is None else f"{found.cost:f}",
    }
    content = found.embeddings.astype("<f4", copy=False).tobytes()
    return Response(content, 200, headers, RAW)


async def openai(model: str, matrix: np.ndarray, tokens: int, *, base64: bool) -> Response:
    """As OpenAI answers; `tokens` are those that were sent for it."""

    def rows(start: int, end: int) -> Any:
        part: Any = matrix[start:end]
        return [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(in_base64(part) if base64 else part, start)
        ]

    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return await _with_rows(
        "data", matrix, rows, {"object": "list", "model": model, "usage": usage}
    )


async def _with_rows(
    name: str, matrix: np.ndarray, rows: Callable[[int, int], Any], rest: dict[str, Any]
) -> Response:
    """An object with a list `name`, which has `rows(start, end)` of a matrix, and with the rest."""
    if matrix.size <= _NUMBERS:
        return as_json({name: rows(0, len(matrix)), **rest})
    step = max(1, _NUMBERS // matrix.shape[1])

    def written() -> bytes:
        parts = [_dumped(rows(start, start + step))[1:-1] for start in range(0, len(matrix), step)]
        parts[0] = f'{{"{name}":['.encode() + parts[0]
        parts[-1] += b"]," + _dumped(rest)[1:]
        return b",".join(parts)  # once: this, too, nothing else runs beside

    return Response(await asyncio.to_thread(written), 200, None, _JSON)


def as_json(content: Any, status: int = 200) -> Response:
    """`content` with arrays and amounts in it."""
    return Response(_dumped(content), status, None, _JSON)


def _dumped(content: Any) -> bytes:
    dumped: bytes = orjson.dumps(content, _amount, orjson.OPT_SERIALIZE_NUMPY)
    return dumped


def _amount(value: Any) -> float:
    """A cost: exact in decimals on this side, and a number like any other in JSON."""
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")
