"""The routes that embed, answered past the router that describes them.

FastAPI's router, its dependencies and its middleware take twice as long as a hit in memory. So the
handlers that need nothing of them, a request in and an answer out, are called straight away, and
their errors become answers by the same table.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Shortcut"]

_log = logging.getLogger("pytest_embedcache")

Handler = Callable[[Request], Awaitable[Response]]
Answers = Mapping[type[Exception], Callable[[Request, Exception], Response]]


class Shortcut:
    """An application before another one.

    Args:
        app: Answers everything else.
        handlers: Of POST, by path.
        errors: What becomes of an exception; has `Exception`.
    """

    def __init__(self, app: Any, handlers: Mapping[str, Handler], errors: Answers) -> None:
        self._app = app
        self._handlers = handlers
        self._errors = errors

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            answer = await handler(request)
        except Exception as error:
            kind = next(kind for kind in type(error).__mro__ if kind in self._errors)
            if kind is Exception:
                # Without its message, which may quote a text.
                where = "".join(traceback.format_tb(error.__traceback__))
                _log.error("%s failed: %s\n%s", scope["path"], type(error).__name__, where)
            answer = self._errors[kind](request, error)
        await answer(scope, receive, send)
