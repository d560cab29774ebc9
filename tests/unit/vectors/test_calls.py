"""Reading a call of `encode`: its texts, its prompt, and what of it goes into a key."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from pytest_embedcache.models import roles
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.roles import prompt_name_of, prompts_as_loaded
from pytest_embedcache.vectors.calls import Call, read_inputs

PLAIN = ModelMetadata(dimension=8)
WITH_PROMPTS = ModelMetadata(dimension=8, prompts={"query": "q: ", "document": "d: ", "sts": "s: "})


@pytest.fixture
def version_5(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if sentence-transformers 5 or later were installed."""
    monkeypatch.setattr(roles, "_given_to_all", lambda: ("query", "document"))


@pytest.fixture
def version_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "_given_to_all", lambda: ())


def given(call: Call) -> dict[str, Any]:
    """All of it."""
    return {name: getattr(call, name) for name in Call.__slots__}


# ------------------------------------------------------------------------------ inputs


class Word(StrEnum):
    CAT = "cat"


class Markup(str):
    """Joins itself to others in a way of its own, as markupsafe's does, and has another name."""

    def __add__(self, other: str) -> str:
        return str.__str__(self) + other.replace("<", "&lt;")

    def __radd__(self, other: str) -> str:
        return other.replace("<", "&lt;") + str.__str__(self)

    def __str__(self) -> str:
        return "markup"


@pytest.mark.parametrize(
    ("inputs", "texts"),
    [
        (["a", "b"], ["a", "b"]),
        (("a", "b"), ["a", "b"]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
        ([np.str_("a")], ["a"]),
        ([""], [""]),
        ([], []),
        ((), []),
        (["\ud800"], ["\ud800"]),
        ([Word.CAT], ["cat"]),
        ([Markup("cat"), "b"], ["cat", "b"]),
    ],
    ids=repr,
)
def test_a_list_a_tuple_and_an_array_of_strings_are_a_batch(inputs: Any, texts: list[str]) -> None:
    """Each is read as several texts, in its order, character by character, as plain strings."""
    assert read_inputs(inputs) == (texts, False)
    assert {type(text) for text in read_inputs(inputs)[0] or ()} <= {str}


@pytest.mark.parametrize("text", ["a cat", "", "\ud800", np.str_("a"), " a ", Word.CAT])
def test_a_string_is_one_text(text: str) -> None:
    """A string is a single input, and nothing is stripped from it."""
    assert read_inputs(text) == ([text], True)
    assert type((read_inputs(text)[0] or [None])[0]) is str


@pytest.mark.parametrize(
    "inputs",
    [
        None,
        7,
        {"text": "a"},
        [("a", "b")],
        ["a", None],
        [b"a"],
        {"a"},
        (text for text in "ab"),
        np.array([["a", "b"]]),
        np.array("a"),
        np.array([1.0]),
        np.array([b"a"]),
        [["a", "b"]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_not_ours_to_read(inputs: Any) -> None:
    """Pairs, dicts, sets, generators, numbers and bytes are for the model itself."""
    assert read_inputs(inputs)[0] is None


def test_a_generator_is_not_used_up() -> None:
    """The model gets a generator as it was given."""
    given = iter("ab")
    read_inputs(given)
    assert list(given) == ["a", "b"]


def test_the_list_that_is_read_is_a_copy() -> None:
    """A caller who changes his list meanwhile changes nobody's batch."""
    given = ["a", "b"]
    texts, _ = read_inputs(given)
    given[0] = "c"
    assert texts == ["a", "b"]


# ------------------------------------------------------------------------------ prompts


def test_a_prompt_is_a_plain_string_in_the_key_and_for_the_model() -> None:
    """A subclass would be joined to a text in its own way, and be the plain one in the key."""
    call = Call(prompt=Markup("<q> "))
    assert type(call.prompt) is str
    assert call.prompt == "<q> "
    assert type(call.inner(with_task=False)["prompt"]) is str


@pytest.mark.parametrize("cut", [np.int64(3), 3, True], ids=repr)
def test_a_dimension_to_cut_to_is_an_integer(cut: Any) -> None:
    """numpy's integers and Python's are one in the key."""
    found = Call(truncate_dim=cut).key_options(PLAIN)
    assert found == {"truncate_dim": int(cut)}
    assert found is not None
    assert type(found["truncate_dim"]) is int


@pytest.mark.parametrize("cut", [1.0, "3"])
def test_what_cannot_cut_a_vector_is_an_error_as_it_is_for_the_model(cut: Any) -> None:
    """Also where the vectors are stored."""
    with pytest.raises(TypeError):
        Call(truncate_dim=cut)


def prompt_of(call: Call, metadata: ModelMetadata) -> tuple[str | None, str | None]:
    return call.role_and_prompt(metadata)


@pytest.mark.usefixtures("version_5")
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call(), (None, None)),
        (Call(prompt_name="sts"), (None, "s: ")),
        (Call(prompt="x: "), (None, "x: ")),
        (Call(prompt_name="sts", prompt="x: "), (None, "x: ")),
        (Call(prompt_name="query", task="query"), ("query", "q: ")),
        (Call(prompt="", task="query"), ("query", "")),
    ],
)
def test_the_prompt_of_a_call_is_the_one_the_model_would_use(
    call: Call, expected: tuple[str | None, str | None]
) -> None:
    """A given prompt wins over a named one; the text goes into the key, not the name."""
    assert prompt_of(call, WITH_PROMPTS) == expected


@pytest.mark.usefixtures("version_5")
def test_the_default_prompt_is_that_of_a_call_that_names_none() -> None:
    """It applies to a plain call, and not where a prompt, be it an empty one, is given."""
    metadata = ModelMetadata(prompts={"sts": "s: "}, default_prompt_name="sts")
    assert prompt_of(Call(), metadata) == (None, "s: ")
    assert prompt_of(Call(prompt=""), metadata) == (None, "")
    assert prompt_of(Call(prompt_name="query", task="query"), metadata) == ("query", "")


@pytest.mark.usefixtures("version_5")
def test_a_model_without_prompts_and_routes_has_one_key_for_all_roles() -> None:
    """There, query, document and plain calls are the same, and share their vectors."""
    asked = [
        Call(),
        Call(task="query", prompt_name="query"),
        Call(task="document", prompt_name="document"),
    ]
    assert {prompt_of(call, PLAIN) for call in asked} == {(None, None)}


@pytest.mark.usefixtures("version_5")
def test_roles_are_kept_apart_where_a_model_may_tell_them_apart() -> None:
    """With a router or with prompts no two roles have one key."""
    routed = ModelMetadata(has_roles=True)
    for metadata in (routed, WITH_PROMPTS):
        found = {prompt_of(Call(task=role, prompt="x"), metadata) for role in ("query", "document")}
        assert len(found) == 2


def test_an_empty_prompt_of_the_caller_is_not_none() -> None:
    """Before version 5 a given empty prompt is pooled differently, so it has its own key."""
    assert prompt_of(Call(prompt=""), PLAIN) != prompt_of(Call(), PLAIN)


@pytest.mark.parametrize("name", ["nope", ""])
def test_a_prompt_name_that_the_model_does_not_have_is_an_error(name: str) -> None:
    """`ValueError`, as the model's own, that lists the names there are."""
    with pytest.raises(ValueError, match="sts"):
        prompt_of(Call(prompt_name=name), WITH_PROMPTS)


# ------------------------------------------------------------------------------ roles


@pytest.mark.usefixtures("version_5")
def test_from_version_5_on_every_model_has_the_two_prompts() -> None:
    """Empty where the files give none; and so `document` is found before `passage`."""
    found = prompts_as_loaded({"passage": "p: ", "query": "q: "})
    assert found == {"query": "q: ", "document": "", "passage": "p: "}
    assert prompt_name_of("document", found) == "document"
    assert prompt_name_of("query", found) == "query"


@pytest.mark.usefixtures("version_3")
def test_before_version_5_a_model_has_the_prompts_of_its_files() -> None:
    """And so a `passage` prompt is the document's."""
    found = prompts_as_loaded({"passage": "p: "})
    assert found == {"passage": "p: "}
    assert prompt_name_of("document", found) == "passage"
    assert prompt_name_of("query", found) is None


# ------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("call", "options"),
    [
        (Call(), {}),
        (Call(normalize=True), {"normalize": True}),
        (Call(truncate_dim=4), {"truncate_dim": 4}),
        (Call(truncate_dim=0), {"truncate_dim": 0}),
        (Call(extra={"processing_kwargs": {"a": 1}}), {"processing_kwargs": {"a": 1}}),
    ],
)
def test_what_changes_a_vector_is_in_its_key(call: Call, options: dict[str, Any]) -> None:
    """Normalisation, truncation and processing are; a cut to nothing is one, too."""
    assert call.key_options(PLAIN) == options


def test_the_models_own_truncation_counts_where_the_call_has_none() -> None:
    """`truncate_dim` of the call wins over the model's."""
    cut = ModelMetadata(truncate_dim=6)
    assert Call().key_options(cut) == {"truncate_dim": 6}
    assert Call(truncate_dim=4).key_options(cut) == {"truncate_dim": 4}


def test_an_argument_of_unknown_influence_has_no_key() -> None:
    """Its vectors are not stored, rather than stored under too short a key."""
    assert Call(extra={"image_size": 3}).key_options(PLAIN) is None


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 7, "show_progress_bar": True, "device": "cpu", "chunk_size": 3},
        {"convert_to_tensor": True, "convert_to_numpy": False, "precision": "int8"},
    ],
)
def test_what_changes_no_vector_is_not_in_its_key(options: dict[str, Any]) -> None:
    """Batch size, progress bar, device and conversion are left out."""
    assert given(Call.of(options)) == given(Call())


def test_a_call_is_read_from_the_arguments_of_encode() -> None:
    """By their names there; what `encode` does not name is extra."""
    call = Call.of({"prompt_name": "query", "normalize_embeddings": 1, "image_size": 3})
    expected = Call(prompt_name="query", normalize=True, extra={"image_size": 3})
    assert given(call) == given(expected)


def test_calls_of_other_keys_are_told_apart() -> None:
    """By all that can be in a key; so the key maker of one is never that of another."""
    calls = [
        Call(name, prompt, task, normalize, cut)
        for name in (None, "query", "sts")
        for prompt in (None, "", "query")
        for task in (None, "query")
        for normalize in (False, True)
        for cut in (None, 0, 4)
    ]
    assert len({call.told() for call in calls}) == len(calls)
    assert Call("query").told() == Call("query").told()


@pytest.mark.parametrize("call", [Call(extra={"processing_kwargs": {"a": []}}), Call(prompt=["a"])])  # type: ignore[arg-type]
def test_a_call_that_is_not_simple_is_read_anew(call: Call) -> None:
    """Its arguments may be of any type, and change."""
    assert call.told() is None


# ------------------------------------------------------------------------------ to the model


def names(options: Iterable[str]) -> set[str]:
    return set(options)


def test_what_is_not_set_is_not_passed_on() -> None:
    """Older versions do not know all arguments, and an unset one must not be an error there."""
    assert Call().inner(with_task=True) == {}
    assert names(Call(task="query", truncate_dim=0).inner(with_task=True)) == {
        "task",
        "truncate_dim",
    }


def test_the_task_is_left_out_for_a_version_without_roles() -> None:
    """There it would be an unknown keyword argument."""
    assert Call(task="query", prompt="").inner(with_task=False) == {"prompt": ""}
