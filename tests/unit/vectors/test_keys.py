"""Keys: distinct inputs have distinct pre-images, equal inputs equal keys."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_embedcache.errors import KeyFieldError
from pytest_embedcache.vectors.keys import KeyFields, KeyMaker, canonical, differences, explain_key

FINGERPRINT = "ab" * 32

#: Few letters, the bytes of lengths and kinds among them: shifts and look-alikes become likely.
tricky = st.text(alphabet='ns\x00\x01\x02\x05l{}":,é\u0301\ud83d\ude00😀', max_size=6)
texts = st.one_of(tricky, st.text(max_size=20), st.text(st.characters(codec=None), max_size=5))
scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    tricky,
    st.binary(max_size=4),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(tricky, inner, max_size=3),
    max_leaves=5,
)
groups = st.dictionaries(tricky, values, max_size=3)
key_fields = st.builds(
    KeyFields,
    fingerprint=st.sampled_from([FINGERPRINT, "cd" * 32]),
    role=st.none() | st.sampled_from(["query", "document", ""]) | tricky,
    prompt=st.none() | tricky,
    options=groups,
    state=groups,
)


def plain(value: Any) -> Any:
    """A value that is equal to another's exactly if both are of one kind and one content."""
    if isinstance(value, float):
        return ("float", value.hex(), str(value))
    if isinstance(value, list | tuple):
        return ("list", tuple(plain(item) for item in value))
    if isinstance(value, dict):
        return ("dict", frozenset((plain(name), plain(item)) for name, item in value.items()))
    return (type(value).__name__, value)


def identity(fields: KeyFields, text: str) -> Any:
    named = (fields.fingerprint, fields.role, fields.prompt, fields.options, fields.state, text)
    return tuple(plain(part) for part in named)


# ------------------------------------------------------------------------------ injective


@settings(deadline=None)
@given(key_fields, texts, key_fields, texts)
def test_distinct_inputs_have_distinct_preimages(
    one: KeyFields, text: str, other: KeyFields, other_text: str
) -> None:
    """The pre-images are equal exactly if the inputs are."""
    same = KeyMaker(one).preimage(text) == KeyMaker(other).preimage(other_text)
    assert same == (identity(one, text) == identity(other, other_text))


@settings(deadline=None)
@given(key_fields, st.data())
def test_one_other_field_is_another_preimage(fields: KeyFields, data: st.DataObject) -> None:
    """Whichever single field is exchanged, the pre-image is another, unless the field is equal."""
    name = data.draw(st.sampled_from(["role", "prompt", "options", "state"]))
    value = data.draw(groups if name in ("options", "state") else st.none() | tricky)
    parts = {field: getattr(fields, field) for field in KeyFields._fields}
    other = KeyFields(**{**parts, name: value})
    same = KeyMaker(fields).preimage("t") == KeyMaker(other).preimage("t")
    assert same == (plain(getattr(fields, name)) == plain(value))


@settings(deadline=None)
@given(tricky, tricky)
def test_bytes_do_not_move_from_field_to_field(whole: str, rest: str) -> None:
    """However a string is cut between role, prompt and text, the pre-images differ."""
    cuts = {(whole[:at], whole[at:]) for at in range(len(whole) + 1)}
    preimages = {KeyMaker(KeyFields(FINGERPRINT, a, b)).preimage(rest) for a, b in cuts}
    preimages |= {KeyMaker(KeyFields(FINGERPRINT, rest, a)).preimage(b) for a, b in cuts}
    inputs = {(a, b, rest) for a, b in cuts} | {(rest, a, b) for a, b in cuts}
    assert len(preimages) == len(inputs)


@settings(deadline=None)
@given(values, values)
def test_canonical_bytes_are_equal_only_for_equal_values(one: Any, other: Any) -> None:
    """Also where JSON has one text for two values: numeric names, surrogates, 1 and true."""
    assert (canonical(one, "") == canonical(other, "")) == (plain(one) == plain(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, ""),
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("1", 1),
        ("a", b"a"),
        ({1: "a"}, {"1": "a"}),
        ("\ud83d\ude00", "😀"),
        ([["a"], "b"], [["a", "b"]]),
        ([], {}),
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
        ("é", "e\u0301"),
    ],
)
def test_look_alikes_are_apart(one: Any, other: Any) -> None:
    """Values that some encoding or comparison takes for one have two keys."""
    fields = [KeyFields(FINGERPRINT, options={"x": value}) for value in (one, other)]
    assert KeyMaker(fields[0]).key("t") != KeyMaker(fields[1]).key("t")


def test_no_prompt_is_not_an_empty_prompt() -> None:
    """Whether a prompt is set is a part of the key, beside what it is."""
    keys = {
        KeyMaker(KeyFields(FINGERPRINT, prompt=prompt)).key("t") for prompt in (None, "", "None")
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "a "), ("a", "A"), ("é", "e\u0301"), ("", " "), ("a\r\n", "a\n"), ("\ud800", "\ud801")],
)
def test_the_exact_text_counts(one: str, other: str) -> None:
    """Nothing is stripped, folded or normalised, and a lone surrogate is a text like others."""
    maker = KeyMaker(KeyFields(FINGERPRINT))
    assert maker.key(one) != maker.key(other)


# ------------------------------------------------------------------------------ stable


@settings(deadline=None)
@given(key_fields, st.lists(texts, max_size=5))
def test_keys_are_the_hashes_of_their_preimages(fields: KeyFields, batch: list[str]) -> None:
    """A batch has the keys that its texts have alone, in the same order, in every maker."""
    maker = KeyMaker(fields)
    keys = maker.keys(batch)
    assert keys == [hashlib.sha256(maker.preimage(text)).digest() for text in batch]
    assert keys == [KeyMaker(fields).key(text) for text in batch]


def test_the_order_of_options_does_not_count() -> None:
    """Two dicts of the same items are one; a tuple is the list of its items."""
    one = KeyFields(FINGERPRINT, options={"a": 1, "b": (1, 2)}, state={"x": 1, "y": 2})
    other = KeyFields(FINGERPRINT, options={"b": [1, 2], "a": 1}, state={"y": 2, "x": 1})
    assert KeyMaker(one).key("t") == KeyMaker(other).key("t")


def test_keys_stay_the_same_from_version_to_version() -> None:
    """A change here makes every stored vector of every user unreachable: raise VERSION then."""
    fields = KeyFields(
        FINGERPRINT,
        role="query",
        prompt="query: ",
        options={"normalize_embeddings": True},
        state={"max_seq_length": 256, "truncate_dim": None, "dtype": "float32"},
    )
    assert KeyMaker(fields).key("a cat").hex() == (
        "4d43dca3e5474d14f5f7d3ffbe434ce57ac58ca7d36fd0714164ff67d2e2b74e"
    )


# ------------------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (object(), "options.x"),
        ([1, {"deep": {1, 2}}], r"options\.x\[1\]\.deep"),
        ({("a",): 1, "b": object()}, r"options\.x\.b"),
        (range(3), "options.x"),
    ],
)
def test_what_has_no_canonical_bytes_is_refused(value: Any, where: str) -> None:
    """An object whose content we do not know is not hashed by its repr: the error names it."""
    with pytest.raises(KeyFieldError, match=where):
        KeyMaker(KeyFields(FINGERPRINT, options={"x": value}))


# ------------------------------------------------------------------------------ explained


def test_an_explanation_names_what_went_in() -> None:
    """Every field by its name, in the order of the pre-image, and the key itself."""
    fields = KeyFields(
        FINGERPRINT, "query", None, {"normalize": True}, {"max_seq_length": 256, "dtype": "f"}
    )
    explained = explain_key(fields, "a cat")
    assert explained.key == KeyMaker(fields).key("a cat").hex()
    assert explained.fields == {
        "version": "embedcache-key-1",
        "fingerprint": FINGERPRINT,
        "role": "query",
        "prompt": None,
        "options.normalize": True,
        "state.dtype": "f",
        "state.max_seq_length": 256,
        "text": "a cat",
    }
    assert any("max_seq_length" in line and "256" in line for line in explained.lines())
    assert explained.as_dict()["key"] == explained.key


def test_the_difference_of_two_keys_is_named() -> None:
    """Exactly the fields that differ, with both values; what one lacks is said to be absent."""
    one = explain_key(
        KeyFields(FINGERPRINT, "query", None, {}, {"max_seq_length": 256, "same": 1}), "a cat"
    )
    other = explain_key(
        KeyFields(
            FINGERPRINT, "query", "", {"normalize": True}, {"max_seq_length": 128, "same": 1}
        ),
        "a cat",
    )
    assert differences(one, other) == {
        "prompt": (None, ""),
        "options.normalize": ("(not given)", True),
        "state.max_seq_length": (256, 128),
    }


@settings(deadline=None)
@given(key_fields, texts, key_fields, texts)
def test_keys_differ_exactly_if_an_explanation_does(
    one: KeyFields, text: str, other: KeyFields, other_text: str
) -> None:
    """No difference is shown for one key, and for two keys always at least one."""
    explained, others = explain_key(one, text), explain_key(other, other_text)
    assert (explained.key == others.key) == (differences(explained, others) == {})
