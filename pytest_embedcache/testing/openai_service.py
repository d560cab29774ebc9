"""What OpenAI's embeddings endpoint answers to a body: its limits, its models, its counting.

The limits are those that the `openai` client documents at `embeddings.create`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.remote import DIMENSIONS
from pytest_embedcache.service.openai_protocol import (
    MAX_INPUTS,
    Input,
    ServiceError,
    columns_of,
    in_base64,
    parse,
    without_model,
)
from pytest_embedcache.vectors.decimals import as_written

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "MAX_INPUTS",
    "MAX_INPUT_TOKENS",
    "MAX_REQUEST_TOKENS",
    "MODELS",
    "Asked",
    "Input",
    "ServiceError",
    "answer",
    "estimated_tokens",
    "read",
]

#: Dimension by model.
MODELS = dict(DIMENSIONS)

MAX_INPUT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000

_BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Asked:
    """A body that the service accepts.

    Attributes:
        model, inputs: As they were given; one input is a tuple of one.
        dimension: Columns of the answer.
        native: Columns of the model.
        base64: Whether vectors are base64, or lists of numbers.
        tokens: Of all inputs.
    """

    model: str
    inputs: tuple[Input, ...]
    dimension: int
    native: int
    base64: bool
    tokens: int = field(default=0)


def estimated_tokens(text: str) -> int:
    """Four bytes of UTF-8 are a token, about as in English; the real count needs a vocabulary."""
    return max(1, -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN))


def read(body: Any, models: Mapping[str, int], count: Callable[[str], int]) -> Asked:
    """What a request's body asks for. Raises `ServiceError`, as the service would."""
    asked = parse(body)
    if asked.model not in models:
        raise without_model(asked.model)
    lengths = [count(one) if isinstance(one, str) else len(one) for one in asked.inputs]
    if (longest := max(lengths)) > MAX_INPUT_TOKENS:
        raise ServiceError(
            400,
            f"This model's maximum context length is {MAX_INPUT_TOKENS} tokens, however you "
            f"requested {longest} tokens ({longest} in your prompt; 0 for the completion). Please "
            "reduce your prompt; or completion length.",
        )
    if (tokens := sum(lengths)) > MAX_REQUEST_TOKENS:
        message = f"Requested {tokens} tokens, max {MAX_REQUEST_TOKENS} tokens per request"
        raise ServiceError(
            400, message, kind="max_tokens_per_request", code="max_tokens_per_request"
        )
    native = models[asked.model]
    dimension = columns_of(asked.dimensions, asked.model, native)
    return Asked(asked.model, asked.inputs, dimension, native, asked.base64, tokens)


def answer(asked: Asked, matrix: np.ndarray) -> dict[str, Any]:
    """The body of an answer; `matrix` is float32 of shape (inputs, columns)."""
    vectors: list[Any] = in_base64(matrix) if asked.base64 else as_written(matrix)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": vector}
            for i, vector in enumerate(vectors)
        ],
        "model": asked.model,
        "usage": {"prompt_tokens": asked.tokens, "total_tokens": asked.tokens},
    }
