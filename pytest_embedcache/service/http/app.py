"""The application: a service's routes behind their limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from pytest_embedcache.errors import EmbedCacheError
from pytest_embedcache.service.http import embed_routes, openai_routes, page_routes
from pytest_embedcache.service.http.answers import as_json
from pytest_embedcache.service.http.figures import EMBEDDING, Figures
from pytest_embedcache.service.http.guard import Guard
from pytest_embedcache.service.http.limits import Limits
from pytest_embedcache.service.http.refusals import RefusalError, of_error, refused
from pytest_embedcache.service.http.shortcut import Shortcut
from pytest_embedcache.service.openai_protocol import ServiceError

if TYPE_CHECKING:
    from pytest_embedcache.service.embedder import EmbedderService

__all__ = ["create_app"]


def create_app(
    service: EmbedderService, *, limits: Limits | None = None, token: str | None = None
) -> Guard:
    """An ASGI application that answers for `service`, which stays its caller's to close.

    With `token`, every request but those for the page's frame and the health must carry it.
    """
    bounds = limits or Limits()
    figures = Figures(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with figures.sampling():
            yield

    app = FastAPI(
        title="embedcache",
        version=version("pytest-embedcache"),
        description="Vectors of texts, cached: many models behind one service.",
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        exception_handlers=_HANDLERS,
    )
    handlers: dict[str, Any] = {}
    for routes in (embed_routes, openai_routes, page_routes):
        made = routes.router(service, bounds, figures)
        handlers |= {route.path: route.endpoint for route in made.routes if route.path in EMBEDDING}
        app.include_router(made)
    inner = Shortcut(app, handlers, _HANDLERS)
    return Guard(inner, limits=bounds, token=token, seen=figures.seen)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return refused(error, request.url.path)


def _in_openais_shape(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    answer = as_json(error.body, error.status)
    answer.headers.update(error.headers)
    return answer


def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, EmbedCacheError)
    return refused(of_error(error), request.url.path)


def _of_starlette(request: Request, error: Exception) -> Response:
    """No such route, or not with this method."""
    assert isinstance(error, HTTPException)
    refusal = RefusalError(error.status_code, str(error.detail), headers=error.headers)
    return refused(refusal, request.url.path)


def _gone(_: Request, error: Exception) -> Response:
    """Nobody hears it: the client went away while it sent. No failure of the server's."""
    return Response(status_code=499)


def _unexpected(request: Request, error: Exception) -> Response:
    """Named by its class alone: a message may quote a text. The server's log says where."""
    refusal = RefusalError(500, f"the server failed ({type(error).__name__}); its log has more")
    return refused(refusal, request.url.path)


_HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    RefusalError: _refused,
    ServiceError: _in_openais_shape,
    EmbedCacheError: _of_ours,
    HTTPException: _of_starlette,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
