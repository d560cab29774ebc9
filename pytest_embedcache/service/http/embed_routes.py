"""The service's own routes, below `/embed/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pytest_embedcache.service.http import answers, schemas
from pytest_embedcache.service.http.bodies import Asked, read_batch, read_text
from pytest_embedcache.service.http.figures import Figures
from pytest_embedcache.service.http.limits import Limits

if TYPE_CHECKING:
    from pytest_embedcache.service.embedder import EmbedderService
    from pytest_embedcache.service.results import BatchEmbeddings

__all__ = ["router"]


def router(service: EmbedderService, limits: Limits, figures: Figures) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/embed", tags=["embed"])

    def post(path: str, described: schemas.Schema) -> Any:
        return routes.post(path, response_class=Response, openapi_extra=described)

    @post("/text", schemas.TEXT)
    async def embed_text(request: Request) -> Response:
        """The vector of one text, in the role of a document."""
        asked = read_text(await request.body(), "text")
        return answers.text(await service.embed_text(asked.texts[0], asked.model, asked.use_cache))

    @post("/query", schemas.QUERY)
    async def embed_query(request: Request) -> Response:
        """The vector of one text, in the role of a query."""
        asked = read_text(await request.body(), "query")
        return answers.text(await service.embed_query(asked.texts[0], asked.model, asked.use_cache))

    async def embedded(asked: Asked) -> BatchEmbeddings:
        return await service.embed_batch(
            asked.texts, asked.model, asked.batch_size, asked.use_cache
        )

    @post("/batch", schemas.BATCH)
    async def embed_batch(request: Request) -> Response:
        """The vectors of a batch, row i for text i; no text is dropped."""
        return await answers.batch(await embedded(read_batch(await request.body(), limits.texts)))

    @post("/raw", schemas.RAW)
    async def embed_raw(request: Request) -> Response:
        """As `/embed/batch`, as rows of little-endian float32; shape and costs in headers."""
        return answers.raw(await embedded(read_batch(await request.body(), limits.texts)))

    @routes.get("/models")
    async def models() -> Response:
        """The models that may be asked for."""
        found = service.get_available_models()
        return answers.as_json({"models": found, "default": service.default_model})

    @routes.get("/metrics")
    async def metrics() -> Response:
        """What was done since the start, or the last reset."""
        return answers.as_json({"metrics": service.get_metrics()})

    @routes.post("/metrics/reset")
    async def reset() -> Response:
        """Begin to count anew. Prometheus' counters, which only grow, go on."""
        service.reset_metrics()
        return answers.as_json({"status": "success", "message": "the metrics begin anew"})

    @routes.get("/health")
    async def health() -> Response:
        """That the server answers; no model is asked."""
        return answers.as_json(figures.health())

    return routes
