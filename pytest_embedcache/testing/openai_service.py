"""What OpenAI's embeddings endpoint answers to a body: its limits, its formats, its errors.

The limits are those that the `openai` client documents at `embeddings.create`; the errors have the
shape, type and code of the service's own.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.remote import DIMENSIONS
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
#: The model that cannot shorten its vectors.
_WHOLE_ONLY = "text-embedding-ada-002"

MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000

_BYTES_PER_TOKEN = 4

#: A text, or its tokens.
Input = str | tuple[int, ...]


class ServiceError(Exception):
    """An answer that is an error. Not of this package's errors: it travels as HTTP."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


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
    if not isinstance(body, dict):
        raise ServiceError(400, "We could not parse the JSON body of your request.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ServiceError(400, "you must provide a model parameter")
    if model not in models:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise ServiceError(404, message, code="model_not_found")
    inputs = _inputs(body.get("input"))
    lengths = [count(one) if isinstance(one, str) else len(one) for one in inputs]
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
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        message = f"Invalid value: {form!r}. Supported values are: 'float' and 'base64'."
        raise ServiceError(400, message, param="encoding_format", code="invalid_value")
    native = models[model]
    dimension = _dimension(body.get("dimensions"), model, native)
    return Asked(model, inputs, dimension, native, form == "base64", tokens)


def answer(asked: Asked, matrix: np.ndarray) -> dict[str, Any]:
    """The body of an answer; `matrix` is float32 of shape (inputs, columns)."""
    vectors: list[Any]
    if asked.base64:
        vectors = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in matrix]
    else:
        vectors = as_written(matrix)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": vector}
            for i, vector in enumerate(vectors)
        ],
        "model": asked.model,
        "usage": {"prompt_tokens": asked.tokens, "total_tokens": asked.tokens},
    }


def _inputs(given: Any) -> tuple[Input, ...]:
    invalid = ServiceError(
        400,
        "'$.input' is invalid. Please check the API reference: "
        "https://platform.openai.com/docs/api-reference.",
    )
    if given is None:
        raise ServiceError(
            400,
            "Missing required parameter: 'input'.",
            param="input",
            code="missing_required_parameter",
        )
    if _is_tokens(given):
        return (tuple(given),)
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not listed:
        raise invalid
    if len(listed) > MAX_INPUTS:
        raise ServiceError(
            400,
            f"Invalid 'input': array too long. Expected an array with maximum length {MAX_INPUTS}, "
            f"but got an array with length {len(listed)} instead.",
            param="input",
            code="array_above_max_length",
        )
    if all(isinstance(text, str) and text for text in listed):
        return tuple(listed)
    if all(map(_is_tokens, listed)):
        return tuple(map(tuple, listed))
    raise invalid


def _is_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)


def _dimension(given: Any, model: str, native: int) -> int:
    if given is None:
        return native
    if model == _WHOLE_ONLY:
        raise ServiceError(400, "This model does not support specifying dimensions.")
    if type(given) is not int or given < 1:
        message = f"Invalid value for 'dimensions' = {given}. Must be greater than or equal to 1."
        raise ServiceError(400, message, param="dimensions", code="invalid_value")
    if given > native:
        message = f"Invalid value for 'dimensions' = {given}. Must be less than or equal to "
        raise ServiceError(400, f"{message}{native}.", param="dimensions", code="invalid_value")
    return given
