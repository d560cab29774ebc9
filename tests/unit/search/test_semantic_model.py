"""`SemanticIndex` while its model is being loaded, without one, and with another one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.semantic import World, score, sound

from pytest_embedcache import notices
from pytest_embedcache.errors import ModelLoadError, ReplayMissError, SemanticIndexError
from pytest_embedcache.models import background
from pytest_embedcache.search import SemanticIndex


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Slow:
    """A load that waits until it is told to go on."""

    def __init__(self, world: World) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        world.backend.on_load = self

    def __call__(self, name: str) -> None:
        self.begun.set()
        assert self.go_on.wait(120), "nobody let the load go on"


def filled(world: World) -> SemanticIndex:
    """An index of two entries, whose model is not in memory any more."""
    index = world.index()
    index.add(["a cat", "a dog"])
    assert world.model.handle.unload()
    return index


def test_while_the_model_loads_keywords_answer(world: World) -> None:
    """Without waiting, a query that is not stored finds words and is told why; then vectors."""
    index = filled(world)
    slow = Slow(world)
    for search in (index.search, index.hybrid_search):
        found = search("the cat", wait=False)
        assert (found.by, [r.id for r in found]) == ("keywords", ["1"])
        assert found.notice is not None
        assert found.notice.startswith("loading the model m …")
    assert slow.begun.wait(120)
    slow.go_on.set()
    assert background.wait(120)
    found = index.search("the cat", wait=False)
    assert (found.by, found.notice, len(found)) == ("vectors", None, 2)
    assert world.backend.loads == ["m", "m"]


def test_keywords_come_first_and_then_the_vectors(world: World) -> None:
    """`search_as_ready` gives the words' results while the model loads, and the others after."""
    index = filled(world)
    slow = Slow(world)
    answers = index.search_as_ready("the cat")
    first = next(answers)
    assert (first.by, [r.id for r in first]) == ("keywords", ["1"])
    assert first.notice is not None
    assert "loading the model" in first.notice
    slow.go_on.set()
    (second,) = answers
    assert (second.by, second.notice) == ("vectors", None)
    assert [r.score for r in second] == pytest.approx(
        sorted((score("the cat", t) for t in ("a cat", "a dog")), reverse=True), abs=1e-6
    )
    assert world.computed == 3


def test_a_stored_query_needs_no_model(world: World) -> None:
    """A query whose vector is stored is answered at once, and loads nothing."""
    index = filled(world)
    index.search("the cat")
    assert world.model.handle.unload()
    loads = len(world.backend.loads)
    (found,) = index.search_as_ready("the cat")
    assert found.by == index.search("the cat", wait=False).by == "vectors"
    assert len(world.backend.loads) == loads


def test_without_a_model_words_are_searched_and_it_is_said(world: World) -> None:
    """Entries are taken, found by keyword, and get their vectors when there is a model."""
    with SemanticIndex(world.path / "index", why_none="it is not here") as index:
        index.add(["a cat", "a dog"])
        assert any("found by keyword only" in message for message in notices.counts())
        for found in (index.search("cat"), index.hybrid_search("cat"), index.find_similar("1")):
            assert found.by == "keywords"
            assert found.notice is not None
        assert index.search("cat").notice == (
            "there is no model (it is not here): only keywords were searched"
        )
        assert [r.id for r in index.search("cat")] == ["1"]
        assert (index.stats().lacking, index.stats().model) == (2, None)
        with pytest.raises(SemanticIndexError, match="without its model"):
            index.rebuild()
    index = world.index()
    found = index.search("cat")
    assert found.by == "keywords"
    assert found.notice is not None
    assert "entries without a vector: 2" in found.notice
    done: list[int] = []
    assert index.fill(progress=done.append) == 2
    assert done == [2]
    sound(index, {"1": "a cat", "2": "a dog"})
    assert index.fill() == 0


def test_a_model_that_cannot_be_loaded_is_no_model(world: World) -> None:
    """Words answer, and the notice has the reason; nothing is remembered of the failure."""
    index = filled(world)

    def fail(name: str) -> None:
        raise ModelLoadError("m", "torch", "no weights", "Get some.")

    world.backend.on_load = fail
    found = index.search("the cat")
    assert (found.by, [r.id for r in found]) == ("keywords", ["1"])
    assert found.notice is not None
    assert "no weights" in found.notice
    world.backend.on_load = lambda name: None
    assert index.search("the cat").by == "vectors"


def test_a_miss_in_replay_is_an_error(world: World) -> None:
    """Only what says that there is no model makes words answer: a miss in replay stays one."""
    index = filled(world)

    def fail(name: str) -> None:
        raise ReplayMissError("m", "the cat", 1, None, None, "pytest")

    world.backend.on_load = fail
    with pytest.raises(ReplayMissError):
        index.search("the cat")
    with pytest.raises(ReplayMissError):
        index.add(["a bird"])
    with pytest.raises(ReplayMissError):
        list(index.search_as_ready("the cat", patience=30))
    assert len(index) == 2


def test_vectors_of_two_models_are_never_compared(world: World) -> None:
    """Another model finds words, is told so, and may add nothing until the index is made anew."""
    world.index().add(["a cat", "a dog"])
    theirs = World(world.path, weights="other")
    index = theirs.index()
    found = index.search("cat")
    assert (found.by, [r.id for r in found]) == ("keywords", ["1"])
    assert found.notice is not None
    assert "index rebuild" in found.notice
    with pytest.raises(SemanticIndexError, match=r"rebuild\(\)"):
        index.add(["a bird"])
    assert len(index) == 2
    assert index.rebuild() == 2
    found = index.search("cat")
    assert found.by == "vectors"
    assert [r.score for r in found] == pytest.approx(
        sorted((score("cat", t, "other") for t in ("a cat", "a dog")), reverse=True), abs=1e-6
    )
    assert world.index().search("cat").by == "keywords"


def test_a_model_that_was_changed_adds_nothing(world: World) -> None:
    """Vectors of a model that was handed out to be changed are in no index."""
    index = filled(world)
    world.model.unwrap()
    with pytest.raises(SemanticIndexError, match="handed out"):
        index.add(["a bird"])
    assert index.search("cat").by == "keywords"
    sound_again = World(world.path)
    sound(sound_again.index(), {"1": "a cat", "2": "a dog"})
