"""Answers as bytes: JSON written once, straight from float32, or the float32 itself."""

from __future__ import annotations

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


def batch(found: BatchEmbeddings) -> Response:
    """The vectors of a batch."""
    return as_json(
        {
            "embeddings": found.embeddings,
            "dimension": found.dimension,
            "model": found.model,
            "total_embeddings": len(found.embeddings),
            "cached_count": found.cached_count,
            "total_cost": found.cost,
        }
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


def openai(model: str, matrix: np.ndarray, tokens: int, *, base64: bool) -> Response:
    """As OpenAI answers; `tokens` are those that were sent for it."""
    rows: Any = in_base64(matrix) if base64 else matrix
    return as_json(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def as_json(content: Any, status: int = 200) -> Response:
    """`content` with arrays and amounts in it."""
    dumped = orjson.dumps(content, _amount, orjson.OPT_SERIALIZE_NUMPY)
    return Response(dumped, status, None, _JSON)


def _amount(value: Any) -> float:
    """A cost: exact in decimals on this side, and a number like any other in JSON."""
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")
