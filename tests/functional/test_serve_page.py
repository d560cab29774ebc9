"""The page of a running server in a real browser: live figures, and nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from support.browser import needs_chromium, seen_at
from support.served import needs_serve, served

pytestmark = [needs_chromium, needs_serve]
TOKEN = "a token for the page of a test"


def test_the_page_shows_live_figures_and_asks_its_own_server_alone(tmp_path: Path) -> None:
    """Six charts and the counts; no complaint of the browser, and no request to elsewhere."""
    with served("--dir", str(tmp_path / "cache")) as server:
        server.post("/embed/batch", texts=["a", "b", "c"])
        server.post("/embed/batch", texts=["a", "b", "c"])
        found = seen_at(f"{server.url}/", tmp_path)
        assert found.console == []
        assert found.requests
        assert all(url.startswith(server.url) for url in found.requests)
        assert found.dom.count('<svg class="chart"') == 6
        assert "50.0 %" in found.dom
        assert "all-MiniLM-L6-v2" in found.dom


def test_without_the_token_the_page_asks_for_it_and_has_no_figure(tmp_path: Path) -> None:
    """The frame comes, its form is shown, and the figures do not come."""
    with served("--dir", str(tmp_path / "cache"), EMBEDCACHE_TOKEN=TOKEN) as server:
        found = seen_at(f"{server.url}/", tmp_path)
    assert "The figures need the token." in found.dom
    assert "<form>" in found.dom
    assert "<svg" not in found.dom
    assert TOKEN not in found.dom
