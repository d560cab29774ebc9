"""What is said at OpenAI's embeddings endpoint: the shape of a request, of an answer, of an error.

For the service that answers there, and for the fake that stands in for OpenAI's own. The limits and
messages are those that the `openai` client documents, and the service's own.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.openai.requests import MAX_INPUTS

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "MAX_INPUTS",
    "WHOLE_ONLY",
    "Body",
    "Input",
    "ServiceError",
    "columns_of",
    "in_base64",
    "parse",
    "without_model",
]

#: The model that cannot shorten its vectors.
WHOLE_ONLY = "text-embedding-ada-002"

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
class Body:
    """A request's body, as far as its shape is concerned.

    Attributes:
        model: As it was given.
        inputs: As they were given; one input is a tuple of one.
        dimensions: As it was given: nothing has been asked of it.
        base64: Whether vectors are to be base64, or lists of numbers.
    """

    model: str
    inputs: tuple[Input, ...]
    dimensions: Any
    base64: bool


def parse(body: Any, *, max_inputs: int = MAX_INPUTS, empty: bool = False) -> Body:
    """What a request's parsed JSON asks for. Raises `ServiceError`, as the service would.

    With `empty`, a text may be empty.
    """
    if not isinstance(body, dict):
        raise ServiceError(400, "We could not parse the JSON body of your request.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ServiceError(400, "you must provide a model parameter")
    inputs = _inputs(body.get("input"), max_inputs, empty)
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        message = f"Invalid value: {form!r}. Supported values are: 'float' and 'base64'."
        raise ServiceError(400, message, param="encoding_format", code="invalid_value")
    return Body(model, inputs, body.get("dimensions"), form == "base64")


def without_model(model: str) -> ServiceError:
    """There is no such model."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ServiceError(404, message, code="model_not_found")


def columns_of(given: Any, model: str, native: int) -> int:
    """Columns of the answer, for a body's `dimensions` and a model with `native` of them."""
    if given is None:
        return native
    if model == WHOLE_ONLY:
        raise ServiceError(400, "This model does not support specifying dimensions.")
    if type(given) is not int or given < 1:
        message = f"Invalid value for 'dimensions' = {given}. Must be greater than or equal to 1."
        raise ServiceError(400, message, param="dimensions", code="invalid_value")
    if given > native:
        message = f"Invalid value for 'dimensions' = {given}. Must be less than or equal to "
        raise ServiceError(400, f"{message}{native}.", param="dimensions", code="invalid_value")
    return given


def in_base64(matrix: np.ndarray) -> list[str]:
    """Each row, as the little-endian float32 that clients decode."""
    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in matrix]


def _inputs(given: Any, max_inputs: int, empty: bool) -> tuple[Input, ...]:
    invalid = ServiceError(
        400,
        "'$.input' is invalid. Please check the API reference: "
        "https://platform.openai.com/docs/api-reference.",
        param="input",
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
    if len(listed) > max_inputs:
        raise ServiceError(
            400,
            f"Invalid 'input': array too long. Expected an array with maximum length {max_inputs}, "
            f"but got an array with length {len(listed)} instead.",
            param="input",
            code="array_above_max_length",
        )
    if all(isinstance(text, str) and (text or empty) for text in listed):
        return tuple(listed)
    if all(map(_is_tokens, listed)):
        return tuple(map(tuple, listed))
    raise invalid


def _is_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)
