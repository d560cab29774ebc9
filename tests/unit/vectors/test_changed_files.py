"""Files that change under a name: nobody reads the vector of a model that is not his.

A second `World` over the same store is another process.
"""

from __future__ import annotations

import pytest
from support.encoders import Files, World, right, world

from pytest_embedcache import ModelSpec, notices
from pytest_embedcache.models import roles
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore

TEXTS = ["a", "b"]


def elsewhere(w: World) -> bytes:
    """What another process reads, or computes, for the model of the files."""
    return bytes(World(w.backend, *w.stores).model().encode(TEXTS).tobytes())


def here(w: World) -> bytes:
    return bytes(w.model().encode(TEXTS).tobytes())


def test_files_that_changed_before_the_load_are_another_model() -> None:
    """What is stored of the old ones stays theirs; a miss finds out, and asks for the new ones."""
    w = world(MemoryStore())
    w.model()
    old = World(w.backend, *w.stores)
    assert here(old) == right(TEXTS)
    w.backend.write("m", Files(weights="new"))
    found = w.model().encode([*TEXTS, "c"]).tobytes()
    assert found == right([*TEXTS, "c"], weights="new")
    assert here(w) == right(TEXTS, weights="new")
    assert here(old) == right(TEXTS)  # loaded before: it is still the old one
    assert elsewhere(w) == right(TEXTS, weights="new")


def test_files_that_changed_after_the_load_do_not_change_the_loaded_model() -> None:
    """It goes on as the one it is; who asks after the change gets the new one."""
    w = world(MemoryStore())
    here(w)
    w.backend.write("m", Files(weights="new"))
    assert w.model().encode([*TEXTS, "c"]).tobytes() == right([*TEXTS, "c"])
    assert elsewhere(w) == right(TEXTS, weights="new")


def test_a_name_that_is_asked_for_after_a_change_does_not_pass_the_loaded_model_for_the_new() -> (
    None
):
    """In this process the old one is loaded, so its vectors are computed, and not stored."""
    w = world(MemoryStore())
    here(w)
    w.backend.write("m", Files(weights="new"))
    asked_later = CachedModel(w.registry, ModelSpec("m", backend="pure", device="cpu"), w.cache)
    assert asked_later.encode(TEXTS).tobytes() == right(TEXTS)
    assert w.tally()["untrusted"] == 2
    assert elsewhere(w) == right(TEXTS, weights="new")


def test_files_that_change_during_a_load_make_a_model_without_a_store() -> None:
    """Of what it was made is not known."""
    w = world(MemoryStore())
    w.backend.on_load = lambda name: w.backend.write("m", Files(weights="half new"))
    assert here(w) == right(TEXTS, weights="half new")
    assert w.tally()["untrusted"] == 2
    assert w.stores[0].stats().entries == 0
    assert any("files changed" in message for message in notices.counts())


def test_files_that_were_only_touched_are_the_same_model() -> None:
    """Another time stamp is no other content: what is stored is found."""
    w = world(MemoryStore())
    here(w)
    late = World(w.backend, *w.stores)
    late.model()
    w.backend.write("m", Files())
    assert late.model().encode([*TEXTS, "c"]).tobytes() == right([*TEXTS, "c"])
    assert late.batches() == [["c"]]


def test_prompts_that_only_the_loaded_model_tells_are_its_prompts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Files that tell another story than the model cost a look, and no wrong vector."""
    monkeypatch.setattr(roles, "_given_to_all", lambda: ("query", "document"))
    w = world(MemoryStore(), hidden_prompts={"query": "q: "})
    for _ in range(2):
        assert w.model().encode_query(TEXTS).tobytes() == right(TEXTS, "q: ")
        assert here(w) == right(TEXTS)
        second = World(w.backend, *w.stores)
        assert second.model().encode_query([*TEXTS, "c"]).tobytes() == right([*TEXTS, "c"], "q: ")


def test_prompts_of_the_files_are_in_the_key_and_not_in_the_fingerprint() -> None:
    """Edited prompts are other vectors, and those without a prompt are found again."""
    w = world(MemoryStore(), prompts={"query": "q: "})
    here(w)
    w.model().encode_query(TEXTS)
    w.backend.write("m", Files(prompts={"query": "x: "}))
    late = World(w.backend, *w.stores)
    assert late.model().encode_query(TEXTS).tobytes() == right(TEXTS, "x: ")
    assert here(late) == right(TEXTS)
    assert late.tally()["computed"] == 2
