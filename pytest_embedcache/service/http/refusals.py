"""Answers that are errors: in OpenAI's shape below `/v1/`, in FastAPI's elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from pytest_embedcache.errors import (
    EmbedCacheError,
    EmptyTextError,
    EncodeError,
    ModelNotFoundError,
    ProviderError,
    ServiceClosedError,
    TooManyWaitingError,
    UnknownModelError,
)

__all__ = ["RefusalError", "of_error", "refused"]

#: The types that OpenAI's errors have, by status; others are `api_error`.
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
}
_UNPROCESSABLE = 422
#: The first class of which an error is decides.
_STATUS: dict[type[EmbedCacheError], int] = {
    UnknownModelError: 404,
    EmptyTextError: 422,
    TooManyWaitingError: 429,
    ProviderError: 502,
    EncodeError: 502,
    ModelNotFoundError: 503,
    ServiceClosedError: 503,
}
#: What a provider says of a request, and not of itself: a client that asks again gets it again.
_ABOUT_REQUESTS = (400, 413, 422, 429)
_CODES = {404: "model_not_found", 422: "value_error", 429: "too_many_waiting"}


class RefusalError(Exception):
    """A request that gets no vectors. Not of the package's errors: it travels as HTTP.

    Attributes:
        status: Of the answer; 422 is 400 in OpenAI's routes.
        place: Which part of the request is meant, such as `("body", "text")`; empty for all of it.
        code: A word for programs.
        headers: Of the answer, beside those of every answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        place: tuple[str | int, ...] = (),
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.place = place
        self.code = code
        self.headers = dict(headers or {})

    def body(self, path: str) -> dict[str, Any]:
        """What the answer's JSON holds, in the shape of the route."""
        message = str(self)
        if _is_openais(path):
            param = str(self.place[-1]) if self.place else None
            kind = _KINDS.get(self.status, "api_error")
            return {"error": {"message": message, "type": kind, "param": param, "code": self.code}}
        if self.status == _UNPROCESSABLE:
            where = list(self.place or ("body",))
            return {"detail": [{"loc": where, "msg": message, "type": self.code or "value_error"}]}
        return {"detail": message}


def refused(error: RefusalError, path: str) -> Response:
    """The answer."""
    content = orjson.dumps(error.body(path))
    # OpenAI's API knows no other for what is wrong with a request.
    status = 400 if error.status == _UNPROCESSABLE and _is_openais(path) else error.status
    return Response(content, status, error.headers, "application/json")


def _is_openais(path: str) -> bool:
    return path.startswith("/v1/")


def of_error(error: EmbedCacheError) -> RefusalError:
    """The answer that says what `error` says."""
    # What is not in the table is missing, locked or damaged here: the server's to mend.
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 503)
    code = _CODES.get(status)
    if isinstance(error, ProviderError) and error.status in _ABOUT_REQUESTS:
        status, code = (429 if error.status == 429 else 422), "refused_by_provider"
    wait = getattr(error, "retry_after", None)
    if wait is None and status in (429, 503) and not isinstance(error, ProviderError):
        wait = 1  # a provider that says nothing is not spoken for
    headers = {}
    if wait is not None and status != _UNPROCESSABLE:  # the same would be refused again
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return RefusalError(status, str(error), headers=headers, code=code)
