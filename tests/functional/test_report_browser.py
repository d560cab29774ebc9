"""The page of a report in a real browser: nothing in it runs, and nothing is asked for."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.browser import first_pixel, needs_chromium, seen
from support.reports import HOSTILE, rich

from pytest_embedcache.plugin.report_page import page

pytestmark = needs_chromium


class Tags(HTMLParser):
    """How often which element is there, and which attributes there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes.update(name for name, _ in attrs)


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "backslashreplace"))
    return path


def test_hostile_names_are_text_in_the_browser(tmp_path: Path) -> None:
    """With them the document has the same elements as without; no script, request or complaint."""
    found = seen(written(tmp_path / "hostile.html", page(rich("".join(HOSTILE)))))
    tame = seen(written(tmp_path / "tame.html", page(rich("tame"))))
    assert Tags(found.dom).elements == Tags(tame.dom).elements
    assert not Tags(found.dom).elements.keys() & {"script", "img", "a", "iframe", "object"}
    assert not [name for name in Tags(found.dom).attributes if name.startswith("on")]
    assert "<title>owned" not in found.dom
    for one in (found, tame):
        assert (one.console, one.requests) == ([], [])
    assert "tests/test_search.py" not in tame.dom
    assert tame.dom.count("<section>") == 9


def test_the_browser_of_these_tests_sees_what_it_looks_for(tmp_path: Path) -> None:
    """A page that asks for a picture, runs a script and complains is seen to do so."""
    bad = "<!doctype html><title>x</title><img src=http://outside.invalid/x><script>"
    bad += "document.title = 'owned'; console.error('trouble')</script>"
    found = seen(written(tmp_path / "bad.html", bad))
    assert found.requests == ["http://outside.invalid/x"]
    assert any("trouble" in line for line in found.console)
    assert "<title>owned" in found.dom


@pytest.mark.parametrize(("dark", "colour"), [(False, "#f5f6f8"), (True, "#0e1116")])
def test_it_is_light_or_dark_as_its_reader_likes(tmp_path: Path, dark: bool, colour: str) -> None:
    """By the browser's own preference, which no script asks for."""
    assert first_pixel(written(tmp_path / "page.html", page(rich())), dark=dark) == colour
