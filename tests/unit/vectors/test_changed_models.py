"""Whatever is done to a model: a vector that is read is that of the model it is read for.

Every test that changes a model reads from another process afterwards: a second `World` over the
same store, whose model is the one of the files.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.encoders import PureModel, World, right, world
from support.letting_go import is_let_go

from pytest_embedcache import ModelSpec, notices
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore

TEXTS = ["a", "b"]


def elsewhere(w: World) -> bytes:
    """What another process reads, or computes, for the model of the files."""
    return bytes(World(w.backend, *w.stores).model().encode(TEXTS).tobytes())


def here(w: World, **options: Any) -> bytes:
    return bytes(w.model().encode(TEXTS, **options).tobytes())


# ------------------------------------------------------------------------------ handed out


def by_index(model: CachedModel) -> None:
    model[0].weights = "changed"


def by_iteration(model: CachedModel) -> None:
    next(iter(model)).weights = "changed"


def by_unwrapping(model: CachedModel) -> None:
    model.unwrap().weights = "changed"


def by_setting(model: CachedModel) -> None:
    model.weights = "changed"


def by_a_method(model: CachedModel) -> None:
    model.half()


HAND_OUTS = [by_index, by_iteration, by_unwrapping, by_setting, by_a_method]


@pytest.fixture
def iterable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules can be iterated over, as a model's are."""
    monkeypatch.setattr(PureModel, "__iter__", lambda self: iter([self]), raising=False)


@pytest.mark.usefixtures("iterable")
@pytest.mark.parametrize("change", HAND_OUTS)
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
def test_a_model_that_was_handed_out_neither_reads_nor_writes(
    change: Callable[[CachedModel], None], stored: bool
) -> None:
    """It computes what it now is, and leaves what is stored to the model of the files."""
    w = world(MemoryStore())
    if stored:
        here(w)
    change(w.model())
    assert here(w) == right(TEXTS, weights="changed")
    assert here(w) == right(TEXTS, weights="changed")
    assert w.tally()["untrusted"] == 4
    assert elsewhere(w) == right(TEXTS)


@pytest.mark.usefixtures("iterable")
def test_a_model_that_the_registry_handed_out_neither_reads_nor_writes() -> None:
    """`ModelRegistry.get` gives the bare model to whoever asks, and to change it."""
    w = world(MemoryStore())
    here(w)
    for change in ("first", "second"):  # of a slow `get` and of a hit
        w.registry.get(w.model().spec).weights = change
        assert here(w) == right(TEXTS, weights=change)
    assert w.tally()["untrusted"] == 4
    assert elsewhere(w) == right(TEXTS)


def test_it_is_said_that_a_model_was_handed_out() -> None:
    """Once in the log, and counted, with the model's name and the reason."""
    w = world()
    w.model().unwrap()
    here(w)
    here(w)
    [(message, count)] = notices.counts().items()
    assert "m are neither read" in message
    assert "handed out" in message
    assert count == 2


def test_who_got_the_model_under_another_name_changes_this_one_too() -> None:
    """Two `CachedModel`s over one loaded model are both without a store."""
    w = world()
    other = CachedModel(w.registry, ModelSpec("m", backend="pure", device="cpu"), w.cache)
    here(w)
    other.unwrap().weights = "changed"
    assert here(w) == right(TEXTS, weights="changed")


def test_a_device_that_was_left_open_hides_no_hand_out() -> None:
    """Where `device=None` turned out to be the CPU, both spellings are one model."""
    w = world()
    here(w)
    left_open = CachedModel(w.registry, ModelSpec("m", backend="pure"), w.cache)
    assert left_open.encode(TEXTS).tobytes() == right(TEXTS)
    left_open.unwrap().weights = "changed"
    assert left_open.encode(TEXTS).tobytes() == right(TEXTS, weights="changed")
    assert here(w) == right(TEXTS, weights="changed")
    assert elsewhere(w) == right(TEXTS)


def test_a_new_model_after_an_eviction_is_the_one_of_the_files() -> None:
    """What was handed out is gone with it, and the store is used again."""
    w = world()
    w.model().unwrap().weights = "changed"
    w.registry.evict("m")
    assert here(w) == right(TEXTS)
    assert w.tally()["computed"] == 2


def test_an_evicted_model_is_let_go() -> None:
    """Whoever has the `CachedModel` does not keep the weights that were forgotten."""
    w = world()
    here(w)
    inner = weakref.ref(w.inner())
    w.registry.evict("m")
    assert is_let_go(inner)


# ------------------------------------------------------------------------------ copies


@pytest.mark.parametrize(
    "take", [lambda m: m.unwrap(copy=True), copy.deepcopy], ids=["unwrap(copy=True)", "deepcopy"]
)
def test_a_private_copy_concerns_nobody_else(take: Callable[[CachedModel], Any]) -> None:
    """Changing it changes no vector of this model, whose store stays in use."""
    w = world()
    private = take(w.model())
    private.weights = "changed"
    assert private.encode(TEXTS).tobytes() == right(TEXTS, weights="changed")
    assert here(w) == here(w) == right(TEXTS)
    assert w.tally()["found"] == {"memory": 2}
    assert w.tally()["untrusted"] == 0
    assert elsewhere(w) == right(TEXTS)


def test_a_shallow_copy_is_the_model_itself() -> None:
    """As its modules would be, in a shallow copy."""
    model = world().model()
    assert copy.copy(model) is model
