"""What a server turns away, before any route sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.asgi import Answer, ask, asked

pytest.importorskip("starlette")
pytest.importorskip("orjson")

from starlette.requests import Request
from starlette.responses import Response

from pytest_embedcache.service.http.guard import Guard
from pytest_embedcache.service.http.limits import Limits

TOKEN = "a token that nobody guesses"


class Inner:
    """Answers with the length of what it was sent, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.stand = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        if self.stand:
            await asyncio.Event().wait()
        body = await Request(scope, receive).body()
        await Response(str(len(body)))(scope, receive, send)


class Behind:
    """A guard before such an application."""

    def __init__(self, *, token: str | None = None, **limits: float) -> None:
        self.inner = Inner()
        self.seen: list[tuple[str, int]] = []
        self.guard = Guard(
            self.inner,
            limits=Limits(**limits),  # type: ignore[arg-type]
            token=token,
            seen=lambda path, status, seconds: self.seen.append((path, status)),
        )

    def post(self, path: str = "/embed/text", body: Any = b"12345", **given: Any) -> Answer:
        return ask(self.guard, "POST", path, body, **given)


def test_what_is_within_the_limits_comes_through_and_is_seen() -> None:
    """The route gets the whole body; the answer is counted with its path and status."""
    behind = Behind(body_bytes=5)
    found = behind.post()
    assert (found.status, found.content, behind.inner.asked) == (200, b"5", 1)
    assert behind.seen == [("/embed/text", 200)]


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    """413 with the bound; the route is never asked."""
    behind = Behind(body_bytes=4)
    found = behind.post()
    assert (found.status, behind.inner.asked) == (413, 0)
    assert "4 bytes" in found.json["detail"]
    assert found.headers["connection"] == "close"
    assert behind.seen == [("/embed/text", 413)]


def test_a_body_without_a_length_ends_where_it_is_too_large() -> None:
    """413 as well, before all of it was read."""
    behind = Behind(body_bytes=4)
    sent = iter([b"12", b"34", b"5", b"never read"])
    assert behind.post(parts=sent).status == 413
    assert behind.post(parts=[b"12", b"34"]).content == b"4"


@pytest.mark.parametrize("length", ["-1", "x", "1_0", "99999999999999999999999999"])
def test_a_length_that_is_none_is_no_error_of_the_servers(length: str) -> None:
    """A client's nonsense is answered with 4xx."""
    found = Behind(body_bytes=10).post(headers={"Content-Length": length})
    assert 400 <= found.status < 500


def test_openais_route_is_refused_in_openais_shape() -> None:
    """Below /v1/ an error is an object with message, type, param and code."""
    found = Behind(body_bytes=4).post("/v1/embeddings")
    assert found.status == 413
    assert sorted(found.json["error"]) == ["code", "message", "param", "type"]
    assert found.json["error"]["type"] == "invalid_request_error"


# ------------------------------------------------------------------------------ who


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", "é"])
def test_without_the_token_there_is_nothing(given: str) -> None:
    """401 for a missing and for a wrong one, and no route is asked."""
    behind = Behind(token=TOKEN)
    found = behind.post(headers={"Authorization": given})
    assert (found.status, behind.inner.asked) == (401, 0)
    assert found.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in found.content.decode()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_the_token_there_is_all(scheme: str) -> None:
    """The scheme is written as one likes, blanks are nothing; the host may be any."""
    for blanks in ("", "  ", "\t"):
        sent = f"{scheme} {blanks}{TOKEN}{blanks}"
        headers = {"Authorization": sent, "Host": "embed.example.org"}
        assert Behind(token=TOKEN).post(headers=headers).status == 200


def test_health_and_the_pages_frame_need_no_token() -> None:
    """A load balancer has none, and the frame asks its reader for it; the figures need it."""
    behind = Behind(token=TOKEN)
    found = {path: ask(behind.guard, "GET", path).status for path in ("/", "/embed/health")}
    assert found == {"/": 200, "/embed/health": 200}
    for path in ("/figures", "/metrics", "/embed/metrics", "/embed/models", "/openapi.json"):
        assert ask(behind.guard, "GET", path).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("127.9.9.9", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("embed.localhost:1", 200),
        ("", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("192.168.1.2:8000", 421),
        ("127.0.0.1.evil.example", 421),
    ],
)
def test_without_a_token_the_host_is_this_machine(host: str, status: int) -> None:
    """A page whose own name leads here (DNS rebinding) gets nothing."""
    assert Behind().post(headers={"Host": host}).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("https://localhost:8000", 200),
        ("http://localhost:9000", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
def test_a_page_of_another_origin_gets_nothing(origin: str, status: int) -> None:
    """Also where its browser would not ask for permission first."""
    assert Behind().post(headers={"Origin": origin}).status == status


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("", 415),
    ],
)
def test_a_body_says_that_it_is_json(kind: str, status: int) -> None:
    """What a form on any page may send without being asked for permission is refused."""
    assert Behind().post(headers={"Content-Type": kind}).status == status
    assert Behind().post(body=None, headers={"Content-Type": ""}).status == 200


# ------------------------------------------------------------------------------ how long


def test_an_answer_that_takes_too_long_is_a_504_and_the_next_is_not() -> None:
    """The route's own waiting ends; Retry-After says that it is worth another try."""
    behind = Behind(seconds=0.01)
    behind.inner.stand = True
    found = behind.post("/v1/embeddings")
    assert (found.status, found.headers["retry-after"]) == (504, "1")
    assert found.json["error"]["code"] == "timeout"
    behind.inner.stand = False
    assert behind.post().status == 200
    assert behind.seen == [("/v1/embeddings", 504), ("/embed/text", 200)]


def test_a_request_that_a_stop_cuts_off_is_told_so() -> None:
    """503, and no error of the server's: it is cancelled when the drain is over."""
    behind = Behind()
    behind.inner.stand = True

    async def cut_off() -> Answer:
        task = asyncio.create_task(asked(behind.guard, "POST", "/v1/embeddings", b"1"))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    found = asyncio.run(cut_off())
    assert (found.status, found.headers["retry-after"]) == (503, "1")
    assert found.json["error"]["type"] == "api_error"
    assert behind.seen == [("/v1/embeddings", 503)]


@pytest.mark.parametrize("bound", ["body_bytes", "texts", "waiting", "seconds", "drain_seconds"])
def test_a_limit_of_nothing_is_none(bound: str) -> None:
    """0, less, and what is no number are errors that name the bound."""
    for value in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=bound):
            Limits(**{bound: value})  # type: ignore[arg-type]


def test_a_post_without_a_body_needs_no_content_type() -> None:
    """Neither a length nor chunks: by HTTP there is none, as of `curl -X POST …/metrics/reset`."""
    behind = Behind()
    head = {"type": "http", "method": "POST", "path": "/embed/metrics/reset", "headers": []}
    behind.guard._check(head, "/embed/metrics/reset")
    with pytest.raises(Exception, match="JSON"):
        behind.guard._check(
            {**head, "headers": [(b"transfer-encoding", b"chunked")]}, "/embed/metrics/reset"
        )
