"""A model whose state is changed, and put back: each state has vectors of its own.

Every test reads from another process afterwards: a second `World` over the same store, whose model
is the one of the files.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest
from support.encoders import World, right, world

from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore

TEXTS = ["a", "b"]


def elsewhere(w: World) -> bytes:
    """What another process reads, or computes, for the model of the files."""
    return bytes(World(w.backend, *w.stores).model().encode(TEXTS).tobytes())


def here(w: World, **options: Any) -> bytes:
    return bytes(w.model().encode(TEXTS, **options).tobytes())


def set_max_seq_length(model: CachedModel) -> Callable[[], None]:
    before = model.max_seq_length
    model.max_seq_length = 5
    return lambda: setattr(model, "max_seq_length", before)


def set_truncate_dim(model: CachedModel) -> Callable[[], None]:
    model.truncate_dim = 4
    return lambda: setattr(model, "truncate_dim", None)


def set_default_prompt(model: CachedModel) -> Callable[[], None]:
    model.default_prompt_name = "query"
    return lambda: setattr(model, "default_prompt_name", None)


def set_prompts(model: CachedModel) -> Callable[[], None]:
    before = model.prompts
    model.prompts = {"query": "x: "}
    return lambda: setattr(model, "prompts", before)


def change_prompts_in_place(model: CachedModel) -> Callable[[], None]:
    before = model.prompts["query"]
    model.prompts["query"] = "x: "
    return lambda: model.prompts.update(query=before)


def load_adapter(model: CachedModel) -> Callable[[], None]:
    inner = model._source.load().model  # as a peft call on a submodule would, unseen by us
    inner.adapters = ("a",)
    return lambda: setattr(inner, "adapters", ())


STATES = [
    set_max_seq_length,
    set_truncate_dim,
    set_default_prompt,
    set_prompts,
    change_prompts_in_place,
    load_adapter,
]


def expected(w: World) -> tuple[bytes, bytes]:
    """What the bare model, as it is now, gives for a plain call and for a query."""
    inner = w.inner()
    plain, query = inner.encode(TEXTS), inner.encode(TEXTS, prompt_name="query")
    del inner.batches[-2:]
    return plain.tobytes(), query.tobytes()


def given(w: World) -> tuple[bytes, bytes]:
    return here(w), w.model().encode_query(TEXTS).tobytes()


@pytest.mark.parametrize("change", STATES)
def test_a_changed_state_has_vectors_of_its_own_and_the_old_ones_come_back_with_it(
    change: Callable[[CachedModel], Callable[[], None]],
) -> None:
    """Each state finds what it stored; another process, in the state of the files, finds that."""
    w = world(MemoryStore(), prompts={"query": "q: "})
    first = given(w)
    assert first == expected(w)
    put_back = change(w.model())
    assert given(w) == expected(w) != first
    assert given(w) == expected(w)
    assert elsewhere(w) == first[0]
    batches = len(w.batches())
    put_back()
    assert given(w) == first
    assert len(w.batches()) == batches  # found, not computed again
    assert w.tally()["untrusted"] == 0


def test_a_cut_for_the_length_of_a_block_ends_with_it() -> None:
    """Also after an error; and the model stays one with a store."""
    w = world(MemoryStore())
    whole = here(w)
    for name in ("truncate_embeddings", "truncate_sentence_embeddings"):
        with contextlib.suppress(RuntimeError), getattr(w.model(), name)(4):
            assert w.model().encode(TEXTS).shape == (2, 4)
            assert w.model().get_embedding_dimension() == 4
            raise RuntimeError
        assert here(w) == whole
    assert w.tally()["untrusted"] == 0
    assert elsewhere(w) == whole


def test_a_prompt_that_was_added_can_be_named() -> None:
    """The names of a changed model are its own, not those of its files."""
    w = world(prompts={"query": "q: "})
    w.model().prompts = {"new": "n: "}
    for _ in range(2):
        assert here(w, prompt_name="new") == right(TEXTS, "n: ")
        assert here(w, prompt="x: ") == right(TEXTS, "x: ")
        with pytest.raises(ValueError, match="query"):
            here(w, prompt_name="query")


def test_an_empty_prompt_that_was_added_can_be_named() -> None:
    """It is one of the model's, though it changes no text."""
    w = world(prompts={"query": "q: "})
    w.model().prompts["new"] = ""
    assert here(w, prompt_name="new") == right(TEXTS)


@pytest.mark.parametrize("change", STATES)
def test_a_state_that_was_changed_before_anything_was_stored_spoils_nothing(
    change: Callable[[CachedModel], Callable[[], None]],
) -> None:
    """The first vectors of a store may be those of a changed model."""
    w = world(MemoryStore(), prompts={"query": "q: "})
    change(w.model())
    assert given(w) == expected(w)
    assert elsewhere(w) == right(TEXTS)
    fresh = World(w.backend, *w.stores)
    assert fresh.model().encode_query(TEXTS).tobytes() == right(TEXTS, "q: ")


def test_two_changed_states_are_told_apart() -> None:
    """Of two processes with different states none reads the other's."""
    store = MemoryStore()
    one = world(store)
    other = World(one.backend, store)
    one.model().max_seq_length = 5
    other.model().max_seq_length = 6
    for _ in range(2):
        assert here(one) == right(TEXTS, max_seq_length=5)
        assert here(other) == right(TEXTS, max_seq_length=6)


@pytest.mark.parametrize(
    "method",
    [
        lambda p: p.update(query="x: "),
        lambda p: p.__setitem__("query", "x: "),
        lambda p: p.__ior__({"query": "x: "}),
        lambda p: (p.pop("query"), p.setdefault("query", "x: ")),
        lambda p: (p.clear(), p.update({"query": "x: "})),
    ],
    ids=["update", "setitem", "ior", "pop and setdefault", "clear"],
)
def test_prompts_that_are_changed_in_place_are_the_models(method: Callable[[Any], object]) -> None:
    """Also while the model is not loaded, and by every method that changes a dict."""
    w = world(prompts={"query": "q: "})
    prompts = w.model().prompts
    assert not w.model().is_loaded
    method(prompts)
    assert w.inner().prompts["query"] == prompts["query"] == "x: "
    assert w.model().encode_query(TEXTS).tobytes() == right(TEXTS, "x: ")


def test_prompts_are_a_dict() -> None:
    """They compare, print and copy as one."""
    prompts = world(prompts={"query": "q: "}).model().prompts
    assert isinstance(prompts, dict)
    assert repr(prompts) == repr(dict(prompts))
    assert type(copy.deepcopy(prompts)) is dict
