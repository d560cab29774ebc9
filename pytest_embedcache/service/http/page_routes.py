"""The page, its figures, and Prometheus' page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from pytest_embedcache.service.http import page
from pytest_embedcache.service.http.figures import Figures
from pytest_embedcache.service.http.limits import Limits

if TYPE_CHECKING:
    from pytest_embedcache.service.embedder import EmbedderService

__all__ = ["router"]

_HEADERS = {
    # Here as well as in the page: a frame around it is forbidden by the header alone.
    "Content-Security-Policy": f"{page.POLICY}; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def router(service: EmbedderService, limits: Limits, figures: Figures) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    shell = page.shell()

    @routes.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> Response:
        """The page."""
        return HTMLResponse(shell, headers=_HEADERS)

    @routes.get("/figures", response_class=HTMLResponse, include_in_schema=False)
    async def shown() -> Response:
        """What the page shows now."""
        shown = page.figures(figures.samples, figures.health(), service.get_metrics())
        return HTMLResponse(shown, headers=_HEADERS)

    @routes.get("/metrics", tags=["metrics"], response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        # In a thread: Redis is asked how much it holds.
        content, kind = await asyncio.to_thread(figures.prometheus)
        return Response(content, media_type=kind)

    return routes
