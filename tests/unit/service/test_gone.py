"""Clients that go away, or are sent away: nobody else loses anything, and the server is well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.asgi import Answer, ask, asked
from support.encoders import right
from support.serving import Serving, eventually, serving
from support.toys import DEADLOCK, Gate

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("orjson")

from pytest_embedcache.service.http.app import create_app

BODIES = {
    "/embed/text": {"text": "a"},
    "/v1/embeddings": {"input": "a", "model": "m"},
}


@pytest.fixture
def s(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as found:
        yield found


@pytest.mark.parametrize("path", sorted(BODIES))
def test_a_client_that_goes_away_while_it_sends_is_a_499(
    path: str, s: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """As proxies count it, and no error of the server's; the next one is answered."""
    app: Any = create_app(s.service)
    with caplog.at_level(logging.DEBUG):
        gone = asyncio.run(asked(app, "POST", path, BODIES[path], goes_away=True))
    assert (gone.status, s.batches()) == (499, [])
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert ask(app, "POST", path, BODIES[path]).status == 200
    counted = ask(app, "GET", "/metrics").content.decode()
    assert f'embedcache_http_requests_total{{route="{path}",status="499"}} 1.0' in counted


def test_one_that_is_cut_off_takes_nothing_from_who_waits_for_the_same(s: Serving) -> None:
    """The text is encoded once, and is the other one's, though the first would have paid."""
    app: Any = create_app(s.service)
    gate = Gate()
    s.w.inner().before = gate
    text = BODIES["/embed/text"]

    async def both() -> tuple[Answer, Answer]:
        first = asyncio.create_task(asked(app, "POST", "/embed/text", text))
        await asyncio.to_thread(gate.reached.wait, DEADLOCK)
        other = asyncio.create_task(asked(app, "POST", "/embed/text", text))
        lane = s.service._calls.models.all()[0].lane("document", 4, True)
        await asyncio.to_thread(eventually, lambda: len(lane._entries["a"].requests) == 2)
        first.cancel()
        cut_off = await first
        gate.open.set()
        return cut_off, await other

    cut_off, other = asyncio.run(both())
    assert (cut_off.status, other.status) == (503, 200)
    assert np.array(other.json["embedding"], np.float32).tobytes() == right(["a"])
    assert other.json["cached"] is False
    assert s.batches() == [["a"]]
