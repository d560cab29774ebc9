"""The routes that are answered past the router: they alone, and with the same errors."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from support.asgi import ask

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("orjson")

from pytest_embedcache.errors import (
    ProviderError,
    ServiceClosedError,
    TooManyWaitingError,
    UnknownModelError,
)
from pytest_embedcache.service.http.app import create_app
from pytest_embedcache.service.http.figures import EMBEDDING


class Service:
    """Answers every call with an error."""

    default_model = "m"
    caching_enabled = True

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def embed_text(self, *args: Any, **options: Any) -> Any:
        raise self.error

    embed_query = embed_batch = embed_text


BODIES = {
    "/embed/text": {"text": "s3cret"},
    "/embed/query": {"query": "s3cret"},
    "/embed/batch": {"texts": ["s3cret"]},
    "/embed/raw": {"texts": ["s3cret"]},
    "/v1/embeddings": {"input": "s3cret", "model": "m"},
}


@pytest.mark.parametrize("path", sorted(EMBEDDING))
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("about s3cret"), 500),
        (UnknownModelError("m", ("n",)), 404),
        (ProviderError("m", "it is overloaded", "Wait.", 429, 7.2), 429),
        (ProviderError("m", "a text is too long", "Shorten it.", 400), 422),
        (ProviderError("m", "it failed", "Ask again.", 500), 502),
    ],
)
def test_an_error_is_an_answer_of_its_status(
    path: str, error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In the shape of the route; what is unexpected is logged, without its words."""
    app: Any = create_app(Service(error))  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR, logger="pytest_embedcache"):
        found = ask(app, "POST", path, BODIES[path])
    if status == 422 and path.startswith("/v1/"):
        status = 400  # OpenAI's clients know no other
    assert found.status == status
    assert ("error" if path.startswith("/v1/") else "detail") in found.json
    assert b"s3cret" not in found.content
    assert "s3cret" not in caplog.text
    assert ("RuntimeError" in caplog.text) == (status == 500)
    assert found.headers.get("retry-after") == ("8" if status == 429 else None)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ProviderError("m", "it is overloaded", "Wait.", 429, 7.2), "8"),
        (ProviderError("m", "it is overloaded", "Wait.", 429, 0.001), "1"),
        (ProviderError("m", "the money is spent", "Pay.", 429), None),
        (ProviderError("m", "it is down", "Wait.", 503, 3.0), "3"),
        (ProviderError("m", "a text is too long", "Shorten it.", 400, 3.0), None),
        (TooManyWaitingError(9, 8), "1"),
        (ServiceClosedError("EmbedderService"), "1"),
        (UnknownModelError("m", ("n",)), None),
    ],
)
@pytest.mark.parametrize("path", ["/embed/text", "/v1/embeddings"])
def test_when_to_come_back_is_told_where_it_is_known(
    path: str, error: Exception, told: str | None
) -> None:
    """In whole seconds, and never for what would be refused again."""
    app: Any = create_app(Service(error))  # type: ignore[arg-type]
    assert ask(app, "POST", path, BODIES[path]).headers.get("retry-after") == told


def test_another_method_is_the_routers() -> None:
    """405, as of every route; and what is no route is 404."""
    app: Any = create_app(Service(RuntimeError("not asked")))  # type: ignore[arg-type]
    assert ask(app, "GET", "/embed/text").status == 405
    assert ask(app, "POST", "/embed/nothing", {}).status == 404


def test_the_document_describes_each_of_them() -> None:
    """With its body and its answer, though FastAPI does not read them."""
    app: Any = create_app(Service(RuntimeError("not asked")))  # type: ignore[arg-type]
    paths = ask(app, "GET", "/openapi.json").json["paths"]
    for path in EMBEDDING:
        described = paths[path]["post"]
        assert described["requestBody"]["content"]["application/json"]["schema"]["properties"]
        assert {"200", "404", "413", "429", "504"} <= set(described["responses"])
