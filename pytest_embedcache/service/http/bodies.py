"""What a request's body asks for, read by hand: a model of pydantic costs more than the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pytest_embedcache.service.http.refusals import RefusalError

__all__ = ["Asked", "parsed", "read_batch", "read_text"]

#: Far more than a model takes at once, and no more than a service can be asked to go through.
MAX_BATCH_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """A body of one of our own routes.

    Attributes:
        texts: One, or those of a batch.
        model: Its name; None is the default one.
        batch_size: How many at once; None is what the table says.
        use_cache: Whether a stored vector will do.
    """

    texts: list[str]
    model: str | None
    batch_size: int | None
    use_cache: bool


def parsed(raw: bytes) -> Any:
    """The JSON. Raises `RefusalError` (422) where it is none, or not Unicode."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # Its message names a place, and quotes nothing.
        message = f"the body is not JSON in UTF-8: {error.msg}"
        raise RefusalError(422, message, place=("body", error.pos), code="json_invalid") from None


def read_text(raw: bytes, field: str) -> Asked:
    """A body with one text in `field`. Raises `RefusalError` (422) for another one."""
    body = _object(raw, {field, "model", "use_cache"})
    text = body.get(field)
    if not isinstance(text, str):
        raise _wrong(field, "a string", field in body)
    return Asked([text], _model(body), None, _use_cache(body))


def read_batch(raw: bytes, most: int) -> Asked:
    """A body with up to `most` texts. Raises `RefusalError` (422) for another one."""
    body = _object(raw, {"texts", "model", "batch_size", "use_cache"})
    texts = body.get("texts")
    if not isinstance(texts, list):
        raise _wrong("texts", "a list of strings", "texts" in body)
    if len(texts) > most:
        message = f"{len(texts):,} texts are too many for one request; send {most:,} at most"
        raise RefusalError(422, message, place=("body", "texts"), code="too_long")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            message = "this one is not a string; a batch is a list of strings"
            raise RefusalError(422, message, place=("body", "texts", place), code="string_type")
    return Asked(texts, _model(body), _batch_size(body), _use_cache(body))


def _object(raw: bytes, known: set[str]) -> Mapping[str, Any]:
    body = parsed(raw)
    if not isinstance(body, dict):
        raise RefusalError(422, "the body has to be a JSON object", code="dict_type")
    if unknown := body.keys() - known:
        name = min(unknown)
        message = f"there is no such field; known are {', '.join(sorted(known))}"
        raise RefusalError(422, message, place=("body", name), code="extra_forbidden")
    return body


def _model(body: Mapping[str, Any]) -> str | None:
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise _wrong("model", "a string, or null", True)
    return model or None


def _use_cache(body: Mapping[str, Any]) -> bool:
    use_cache = body.get("use_cache", True)
    if not isinstance(use_cache, bool):
        raise _wrong("use_cache", "true or false", True)
    return use_cache


def _batch_size(body: Mapping[str, Any]) -> int | None:
    size = body.get("batch_size")
    if size is not None and (type(size) is not int or not 1 <= size <= MAX_BATCH_SIZE):
        raise _wrong("batch_size", f"a whole number from 1 to {MAX_BATCH_SIZE}, or null", True)
    return size


def _wrong(field: str, wanted: str, given: bool) -> RefusalError:
    message = f"it has to be {wanted}" if given else f"it is missing: {wanted}"
    code = "value_error" if given else "missing"
    return RefusalError(422, message, place=("body", field), code=code)
