"""Two different lists of fields never have the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_embedcache.encoding import canonical_json, digest, frame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def unframe(framed: bytes) -> list[bytes]:
    """The fields again, read as the docstring of `frame` says."""
    count, rest = int.from_bytes(framed[:8], "little"), framed[8:]
    fields = []
    for _ in range(count):
        length = int.from_bytes(rest[:8], "little")
        fields.append(rest[8 : 8 + length])
        rest = rest[8 + length :]
    assert not rest
    return fields


@given(st.lists(st.binary()))
def test_framed_fields_can_be_told_apart_again(fields: list[bytes]) -> None:
    """What can be read back is injective."""
    assert unframe(frame(fields)) == fields


@given(st.lists(st.binary(max_size=3), max_size=3), st.lists(st.binary(max_size=3), max_size=3))
def test_two_lists_have_the_same_bytes_only_if_they_are_equal(
    one: list[bytes], other: list[bytes]
) -> None:
    """Also of short fields, whose concatenations are often equal."""
    assert (frame(one) == frame(other)) == (one == other)


@given(st.text(), st.text(), st.data())
def test_moving_the_border_between_two_fields_changes_the_digest(
    one: str, other: str, data: st.DataObject
) -> None:
    """`("a", "bc")` and `("ab", "c")` are two, wherever the border is."""
    whole = one + other
    border = data.draw(st.integers(0, len(whole)))
    moved = (whole[:border], whole[border:])
    assert (digest(one, other) == digest(*moved)) == (moved == (one, other))


@given(st.lists(st.text(st.characters(categories=["L", "Cs"]), max_size=3), max_size=3))
def test_a_lone_surrogate_has_a_digest_of_its_own(fields: list[str]) -> None:
    """Text that is not valid Unicode is hashed as it is, not replaced."""
    replaced = [f.encode("utf-8", "replace").decode() for f in fields]
    assert (digest(*fields) == digest(*replaced)) == (fields == replaced)


def test_text_is_not_normalised() -> None:
    """Two spellings of one letter, two cases and an outer blank are different texts."""
    assert len({digest(text) for text in ("é", "e\u0301", "É", "é ", " é")}) == 5


@given(JSON)
def test_canonical_json_reads_back_as_the_same_value(value: Any) -> None:
    """Nothing is lost, and writing it again gives the same bytes."""
    written = canonical_json(value)
    assert json.loads(written) == value
    assert canonical_json(json.loads(written)) == written


def test_layout_and_order_of_a_document_do_not_count() -> None:
    """Two spellings of one document have the same canonical bytes; `1` and `1.0` are two values."""
    one = json.loads('{"b": [1, 2],\n  "a": "\\u00e9"}')
    other = json.loads('{"a":"é","b":[1,2]}')
    assert canonical_json(one) == canonical_json(other) == b'{"a":"\\u00e9","b":[1,2]}'
    assert canonical_json(1) != canonical_json(1.0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"),
        (("a", b"bc"), "99171f0b5942e6a5f6da2ee2a56ff952ede038dd305c0a5dc3a274ecc1b4f14f"),
    ],
)
def test_a_digest_is_the_same_in_every_version(fields: tuple[Any, ...], expected: str) -> None:
    """Stored keys are named by it: it may never change."""
    assert digest(*fields) == expected
