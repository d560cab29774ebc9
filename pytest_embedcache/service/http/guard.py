"""Before any route: who may ask, how large, how long, and from which page."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pytest_embedcache.service.http.limits import Limits
from pytest_embedcache.service.http.refusals import RefusalError, refused

__all__ = ["Guard"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: (path, status, seconds): called for each answer.
Seen = Callable[[str, int, float], None]

#: Without a token: whether the server is alive is asked by who has none, and the page asks for one.
OPEN = frozenset({"/", "/embed/health"})
_JSON = b"application/json"
#: Digits of a Content-Length.
_LONGEST_LENGTH = 18


class Guard:
    """The application behind its limits.

    A request that is over one is answered before its body is read. Without a token the server is
    for this machine's own programs; a browser on it is one, and would ask in the name of any page
    it shows. So a body has to say that it is JSON, which a page may not do across origins without
    being asked for permission first, and the host has to be this machine, which it is not for a
    page that had its own name lead here.

    Args:
        app: What answers.
        limits: The bounds.
        token: That a request must carry (`Authorization: Bearer …`); None asks for none.
        seen: Is told of every answer.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        *,
        limits: Limits,
        token: str | None,
        seen: Seen,
    ) -> None:
        self._app = app
        self._limits = limits
        self._bearer = None if token is None else f"bearer {token}".encode()
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        path: str = scope["path"]
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope, path)
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, self._bounded(receive), sent)
        except (RefusalError, TimeoutError) as error:
            if status:  # too late for another answer
                raise
            if isinstance(error, TimeoutError):
                error = _late(self._limits.seconds)
            await refused(error, path)(scope, receive, sent)
        except asyncio.CancelledError:
            if status:
                raise
            # By the server, which stops and waits no longer. Passed on, it would be its error.
            await refused(_cut_off(), path)(scope, receive, sent)
        finally:
            self._seen(path, status or 500, time.perf_counter() - began)

    def _check(self, scope: Scope, path: str) -> None:
        """Raise `RefusalError` for what its head alone rules out."""
        length = host = authorization = kind = origin = None
        chunked = False  # without it and without a length there is no body (RFC 9112, 6.3)
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"host":
                host = value
            elif name == b"authorization":
                authorization = value
            elif name == b"content-type":
                kind = value
            elif name == b"origin":
                origin = value
        if self._bearer is None:
            if host is not None and not _is_this_machine(host):
                raise RefusalError(
                    421,
                    f"this server has no token, and answers to this machine's own names only, "
                    f"not to {host.decode('latin-1')!r}",
                )
        elif path not in OPEN and not self._may(authorization):
            raise RefusalError(
                401,
                "the token is missing or wrong: send `Authorization: Bearer TOKEN`",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if origin is not None and _host_of(origin) != host:
            raise RefusalError(403, "a page of another origin may not ask this server")
        if scope["method"] != "POST":
            return
        size = None if length is None else _size(length)
        if size is not None and size > self._limits.body_bytes:
            raise self._too_large()
        has_body = chunked if size is None else size > 0
        if has_body and (kind is None or kind.split(b";")[0].strip().lower() != _JSON):
            raise RefusalError(
                415, "the body has to be JSON: send `Content-Type: application/json`"
            )

    def _may(self, authorization: bytes | None) -> bool:
        assert self._bearer is not None
        scheme, _, token = (authorization or b"").partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + token.strip(), self._bearer)

    def _too_large(self) -> RefusalError:
        return RefusalError(
            413,
            f"the body has more than {self._limits.body_bytes:,} bytes; send it in parts",
            headers={"Connection": "close"},
        )

    def _bounded(self, receive: Receive) -> Receive:
        """A body whose length was not told ends where it is too long."""
        left = self._limits.body_bytes

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise self._too_large()
            return message

        return bounded


def _late(seconds: float) -> RefusalError:
    return RefusalError(
        504,
        f"no answer within {seconds:g} seconds; what was begun goes on, and is stored: ask again",
        code="timeout",
        headers={"Retry-After": "1"},
    )


def _cut_off() -> RefusalError:
    return RefusalError(
        503,
        "the server stops, and waits no longer for this: ask again",
        headers={"Retry-After": "1"},
    )


def _size(length: bytes) -> int:
    if not length.isdigit() or len(length) > _LONGEST_LENGTH:
        raise RefusalError(400, "Content-Length is not a length", headers={"Connection": "close"})
    return int(length)


def _host_of(origin: bytes) -> bytes:
    return origin.partition(b"://")[2]


def _is_this_machine(host: bytes) -> bool:
    """Whether a `Host` header names this machine: as localhost, or by an address of its own."""
    name = host.decode("latin-1").lower()
    if not name.endswith("]"):
        head, colon, port = name.rpartition(":")
        if colon and port.isdecimal():
            name = head
    if name in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.endswith(".localhost")
