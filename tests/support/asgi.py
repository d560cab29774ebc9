"""An ASGI application, asked without a server, a socket or a client's library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


def ask(
    app: App,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    parts: Iterable[bytes] | None = None,
) -> Answer:
    """One request. `body` is sent as JSON, bytes as they are; `parts` come without a length."""
    return asyncio.run(asked(app, method, path, body, headers=headers, parts=parts))


async def asked(
    app: App,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    parts: Iterable[bytes] | None = None,
    goes_away: bool = False,
) -> Answer:
    """The same, in a loop that runs already. A header that is set to "" is not sent.

    With `goes_away` the client is gone before the end of its body.
    """
    content = (
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    )
    sent: dict[str, str] = {"host": "localhost:8000"}
    if method == "POST":
        sent["content-type"] = "application/json"
        if parts is None:
            sent["content-length"] = str(len(content))
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    pieces = [content] if parts is None else [*parts, b""]
    last = len(pieces) + goes_away
    messages = [
        {"type": "http.request", "body": piece, "more_body": number < last}
        for number, piece in enumerate(pieces, 1)
    ]
    answered: list[MutableMapping[str, Any]] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        answered.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.items() if v],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await app(scope, receive, send)
    start = answered[0]
    named = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], named, b"".join(m.get("body", b"") for m in answered[1:]))
