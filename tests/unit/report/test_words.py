"""Texts in a report are shown as they are, and are never markup."""

from __future__ import annotations

import html
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reports import HOSTILE

from pytest_embedcache.words import (
    clean,
    dollars,
    in_code,
    in_html,
    in_markdown,
    seconds,
)

ANY = st.text(max_size=40) | st.sampled_from(HOSTILE)


class Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.value: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.value = dict(attrs).get("title", self.value)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(ANY)
def test_html_shows_the_text_and_no_element(text: str) -> None:
    """As content and as an attribute."""
    parsed = Parsed(f'<b title="{in_html(text)}">{in_html(text)}</b>')
    assert parsed.tags == ["b"]
    assert parsed.text == parsed.value == clean(text)


@given(ANY)
def test_prose_in_markdown_has_no_character_that_means_something(text: str) -> None:
    """What is left beside letters and digits is no markup inside of a line."""
    shown = in_markdown(text)
    assert html.unescape(shown) == html.unescape(clean(text)) or "&" in text
    assert not set(shown) & set('|`*_[]<>~\\\n\r@:!$"{}^')
    assert "www." not in shown


@given(ANY)
def test_a_code_span_ends_where_it_should(text: str) -> None:
    """It is fenced by more backticks than are in it, and its bars end no cell."""
    shown = in_code(text)
    fence = shown[: len(shown) - len(shown.lstrip("`"))]
    inside = shown[len(fence) : -len(fence)]
    assert shown.endswith(fence)
    assert fence not in inside
    assert "|" not in inside.replace("\\|", "")
    assert inside.replace("\\|", "|").strip() == clean(text).strip()
    assert len(shown.splitlines()) == 1


@given(ANY)
def test_everything_is_seen(text: str) -> None:
    """Controls, what turns the direction of writing, and what has no width; it can be written."""
    shown = clean(text)
    assert not any(ord(character) < 32 for character in shown)
    assert not set(shown) & set("\u202a\u202e\u2066\u2069\u200b\u200d\ufeff\x7f\x85\u2028")
    shown.encode("utf-8")


def test_a_long_text_is_cut() -> None:
    """So that one name does not make a page of its own."""
    assert clean("x" * 1000) == "x" * 299 + "…"


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        *((0, "0 s"), (0.0000123, "12.3 µs"), (0.0123, "12.3 ms"), (1.234, "1.23 s")),
        *((99.9, "99.9 s"), (100, "1 min 40 s"), (3725.4, "62 min 5 s")),
    ],
)
def test_seconds(amount: float, words: str) -> None:
    """With a unit in which they are easily read."""
    assert seconds(amount) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        ("0.25", "$0.25"),
        ("0.0000014", "$0.0000014"),
        ("0.02", "$0.02"),
    ],
)
def test_dollars(amount: str, words: str) -> None:
    """A little is not rounded to nothing."""
    assert dollars(Decimal(amount)) == words
