"""A text in a recording is exact, and can be read in review."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_embedcache.vectors.recorded_text import joined, pieces, readable_json

#: Surrogates too, which a Python text may hold, and what ends lines or hides.
TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=()),
        st.sampled_from('\n\r\t\0\ud83d\ude00\u2028\u202e\x85\ufeff"\\'),
    )
)


@settings(deadline=None)
@given(TEXTS)
def test_a_text_comes_back_exactly(text: str) -> None:
    """Whatever characters it has, also the two surrogates that spell an emoji."""
    assert joined(json.loads(readable_json(pieces(text)))) == text


@settings(deadline=None)
@given(TEXTS)
def test_two_texts_are_never_written_alike(text: str) -> None:
    """NFC and NFD, and an emoji and its surrogates, stay apart: each comes back as itself."""
    other = unicodedata.normalize("NFD", text)
    alike = readable_json(pieces(text)) == readable_json(pieces(other))
    assert alike == (text == other)


@settings(deadline=None)
@given(TEXTS)
def test_nothing_in_a_file_is_hidden(text: str) -> None:
    """UTF-8 whose only control character is the line feed: no CR, nothing that reverses text."""
    shown = readable_json(pieces(text)).decode("utf-8")
    hidden = {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")}
    assert hidden <= {"\n"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("a cat", "a cat"),
        ("one\ntwo", ["one\n", "two"]),
        ("one\n\ntwo\n", ["one\n\n", "two\n"]),
        ("\n", "\n"),
        ("a\ud83d\ude00", ["a\ud83d", "\ude00"]),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_a_line_of_a_text_is_a_line_of_the_file(text: str, written: object) -> None:
    """A text of one line is a string, any other a list."""
    assert pieces(text) == written


def test_scripts_are_not_escaped() -> None:
    """What people can read is not written as numbers."""
    assert "שלום 日本語 é 😀" in readable_json(pieces("שלום 日本語 é 😀")).decode()


@pytest.mark.parametrize("found", [None, 3, ["a", 3], {"a": "b"}, [["a"]]])
def test_anything_else_is_an_error(found: object) -> None:
    """A file that was edited by hand does not become another text."""
    with pytest.raises(ValueError, match="neither a string nor a list"):
        joined(found)
