"""What the OpenAPI document says of the routes whose bodies are read by hand."""

from __future__ import annotations

from typing import Any

from pytest_embedcache.service.http.bodies import MAX_BATCH_SIZE

__all__ = ["BATCH", "OPENAI", "OPENAI_MODEL", "QUERY", "RAW", "TEXT", "operation"]

Schema = dict[str, Any]

_MODEL: Schema = {"type": ["string", "null"], "description": "None is the default one."}
_USE_CACHE: Schema = {"type": "boolean", "default": True}
_NUMBERS: Schema = {"type": "array", "items": {"type": "number"}}
_COST: Schema = {
    "type": ["number", "null"],
    "description": "US dollars; a hit costs nothing, and a price that is not known is null.",
}
_TOKENS: Schema = {"type": "integer", "minimum": 0}


def _object(properties: Schema, *required: str, closed: bool = False) -> Schema:
    made: Schema = {"type": "object", "properties": properties, "required": list(required)}
    return made | ({"additionalProperties": False} if closed else {})


def _text(field: str) -> Schema:
    fields = {field: {"type": "string"}, "model": _MODEL, "use_cache": _USE_CACHE}
    return _object(fields, field, closed=True)


_ONE = _object(
    {
        "embedding": _NUMBERS,
        "dimension": _TOKENS,
        "model": {"type": "string"},
        "cached": {"type": "boolean"},
        "cost": _COST,
    },
    *("embedding", "dimension", "model", "cached", "cost"),
)
_MANY = _object(
    {
        "embeddings": {"type": "array", "items": _NUMBERS},
        "dimension": _TOKENS,
        "model": {"type": "string"},
        "total_embeddings": _TOKENS,
        "cached_count": _TOKENS,
        "total_cost": _COST,
    },
    *("embeddings", "dimension", "model", "total_embeddings", "cached_count", "total_cost"),
)
_TEXTS = _object(
    {
        "texts": {"type": "array", "items": {"type": "string"}},
        "model": _MODEL,
        "batch_size": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_BATCH_SIZE},
        "use_cache": _USE_CACHE,
    },
    "texts",
    closed=True,
)
_OPENAI_BODY = _object(
    {
        "input": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        },
        "model": {"type": "string", "minLength": 1},
        "dimensions": {"type": ["integer", "null"], "minimum": 1},
        "encoding_format": {"enum": ["float", "base64"], "default": "float"},
        "user": {"type": ["string", "null"]},
    },
    "input",
    "model",
    closed=True,
)
_OPENAI_ROW = _object(
    {
        "object": {"const": "embedding"},
        "index": _TOKENS,
        "embedding": {"anyOf": [_NUMBERS, {"type": "string", "contentEncoding": "base64"}]},
    },
    *("object", "index", "embedding"),
)
_OPENAI_ANSWER = _object(
    {
        "object": {"const": "list"},
        "data": {"type": "array", "items": _OPENAI_ROW},
        "model": {"type": "string"},
        "usage": _object(
            {"prompt_tokens": _TOKENS, "total_tokens": _TOKENS}, "prompt_tokens", "total_tokens"
        ),
    },
    *("object", "data", "model", "usage"),
)
_DETAIL = _object({"detail": {"type": "string"}}, "detail")
_INVALID = _object(
    {
        "detail": {
            "type": "array",
            "items": _object(
                {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
                *("loc", "msg", "type"),
            ),
        }
    },
    "detail",
)
_ERROR = _object(
    {
        "error": _object(
            {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            *("message", "type", "param", "code"),
        )
    },
    "error",
)
#: Status -> what it means; of every route that embeds.
_REFUSALS = {
    401: "the token is missing or wrong",
    404: "no such model",
    413: "the body is too large",
    415: "the body is not said to be JSON",
    429: "too many texts are waiting; Retry-After says when to ask again",
    502: "the provider behind the model did not answer with vectors",
    503: "the model cannot be had, or the server is stopping",
    504: "not within the time; what was begun goes on",
}


def _content(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def operation(body: Schema, answer: Schema, *, openai: bool = False) -> Schema:
    """What FastAPI adds to its own description of a route: body, answer and refusals."""
    shape = _ERROR if openai else _DETAIL
    responses: Schema = {"200": {"description": "the vectors", "content": answer}}
    for status, meaning in _REFUSALS.items():
        responses[str(status)] = {"description": meaning, "content": _content(shape)}
    invalid = {"description": "the body is not what it has to be"}
    if openai:
        responses["400"] = invalid | {"content": _content(_ERROR)}
    else:
        responses["422"] = invalid | {"content": _content(_INVALID)}
    return {
        "requestBody": {"required": True, "content": _content(body)},
        "responses": responses,
    }


TEXT = operation(_text("text"), _content(_ONE))
QUERY = operation(_text("query"), _content(_ONE))
BATCH = operation(_TEXTS, _content(_MANY))
RAW = operation(
    _TEXTS,
    {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
)
OPENAI = operation(_OPENAI_BODY, _content(_OPENAI_ANSWER), openai=True)
OPENAI_MODEL: Schema = {
    "responses": {
        "200": {"description": "the model", "content": _content({"type": "object"})},
        "404": {"description": _REFUSALS[404], "content": _content(_ERROR)},
    }
}
