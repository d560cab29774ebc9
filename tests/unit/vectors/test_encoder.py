"""From texts to vectors: what is found, what is computed, and by whom, on a model without torch."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.encoders import World, pure_vector, right, world

from pytest_embedcache.vectors import encoder
from pytest_embedcache.vectors.memory import MemoryStore

TEXTS = ["a cat", "a dog", "", "a cat", "\u00e9", "e\u0301", " a cat", "a dog"]


def vectors(found: Any) -> bytes:
    assert found.dtype == np.float32
    return bytes(found.tobytes())


# ------------------------------------------------------------------------------ rows


def test_row_i_is_the_vector_of_text_i() -> None:
    """For hits, misses and duplicates in one call, in whatever order."""
    w = world()
    w.model().encode(["a dog", "b"])
    assert vectors(w.model().encode(TEXTS)) == right(TEXTS)
    assert vectors(w.model().encode(TEXTS[::-1])) == right(TEXTS[::-1])


@pytest.mark.parametrize("seed", range(20))
def test_row_i_is_the_vector_of_text_i_in_any_mix(seed: int, request: Any) -> None:
    """Random batches over a half-filled store, each against the pure function."""
    draw = random.Random(seed)
    w = world()
    for _ in range(20):
        texts = [f"text {draw.randrange(60)}" for _ in range(draw.randrange(1, 40))]
        assert vectors(w.model().encode(texts)) == right(texts)


def test_each_missing_text_is_computed_once_and_all_in_one_call() -> None:
    """Duplicates and hits do not reach the model; what does reaches it together."""
    w = world()
    w.model().encode(["a dog"])
    w.model().encode(TEXTS)
    first, second = w.batches()
    assert first == ["a dog"]
    assert sorted(second) == sorted(set(TEXTS) - {"a dog"})
    tally = w.tally()
    assert tally["asked"] == 1 + len(TEXTS)
    assert tally["computed"] == 6
    assert tally["shared"] == 2
    assert tally["found"] == {"memory": 1}


def test_a_warm_call_does_not_reach_the_model() -> None:
    """In a process that finds every vector, the model is not even loaded."""
    store = MemoryStore()
    first = world(store)
    first.model().encode(TEXTS)
    second = World(first.backend, store)
    assert vectors(second.model().encode(TEXTS)) == right(TEXTS)
    assert first.backend.loads == ["m"]
    assert not second.model().is_loaded
    assert second.tally()["computed"] == 0
    assert second.tally()["found"] == {"memory": 6}


def test_texts_that_differ_in_one_byte_are_two_texts() -> None:
    """No normalisation, no stripping, no case folding."""
    texts = ["\u00e9", "e\u0301", "a", "A", "a ", " a", "a\n", "a\0", "", "\u200b"]
    w = world()
    assert vectors(w.model().encode(texts)) == right(texts)
    assert w.tally()["computed"] == len(texts)


def test_what_is_returned_is_the_callers() -> None:
    """Writing into a result changes neither the store, nor another result, nor a later one."""
    w = world()
    for _ in range(2):
        found = w.model().encode(["a", "b", "a"])
        again = w.model().encode(["a", "b", "a"])
        found[:] = 7
        assert vectors(again) == right(["a", "b", "a"])
    single = w.model().encode("a")
    single[:] = 7
    assert vectors(w.model().encode("a")) == right(["a"])


def test_what_the_model_does_with_its_rows_later_changes_nothing() -> None:
    """A model that reuses its buffer has given a copy away."""
    w = world()
    kept: list[np.ndarray] = []
    w.inner().after = lambda texts: None
    w.inner().reshape = lambda rows: kept.append(rows) or rows
    w.model().encode(["a", "b"])
    kept[0][:] = 7
    assert vectors(w.model().encode(["a", "b"])) == right(["a", "b"])


def test_a_model_that_reuses_its_buffer_spoils_no_earlier_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rows of a slice are copied before the next one is computed."""
    monkeypatch.setattr(encoder, "SLICE", 2)
    w = world()
    buffer = np.zeros((2, 8), np.float32)

    def reuse(rows: np.ndarray) -> np.ndarray:
        buffer[: len(rows)] = rows
        return buffer[: len(rows)]

    w.inner().reshape = reuse
    texts = ["a", "b", "c", "d", "e"]
    assert vectors(w.model().encode(texts)) == right(texts)


@pytest.mark.parametrize("inputs", [[], (), np.array([], dtype=object)])
def test_nothing_in_is_nothing_out(inputs: Any) -> None:
    """`encode([])` has shape (0,), as the model's own, and needs no model."""
    w = world()
    found = w.model().encode(inputs)
    assert found.shape == (0,)
    assert w.backend.loads == []


def test_an_unknown_prompt_is_an_error_also_for_nothing() -> None:
    """As it is for the model."""
    with pytest.raises(ValueError, match="nope"):
        world().model().encode([], prompt_name="nope")


# ------------------------------------------------------------------------------ slices


@pytest.fixture
def slices_of_4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "SLICE", 4)


@pytest.mark.usefixtures("slices_of_4")
def test_long_work_is_stored_slice_by_slice() -> None:
    """While the third slice is computed, two are in the store already."""
    store = MemoryStore()
    w = world(store)
    stored: list[int] = []
    w.inner().before = lambda texts: stored.append(store.stats().entries)
    texts = [f"text {number}" for number in range(10)]
    assert vectors(w.model().encode(texts)) == right(texts)
    assert stored == [0, 4, 8]
    assert [len(batch) for batch in w.batches()] == [4, 4, 2]


@pytest.mark.usefixtures("slices_of_4")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("out of memory"), SystemExit])
def test_an_interrupt_loses_one_slice(error: Any) -> None:
    """What broke off in the third slice is stored up to the second, and only the rest is redone."""
    w = world()
    texts = [f"text {number}" for number in range(12)]

    def fail(batch: Sequence[str]) -> None:
        if len(w.batches()) == 3:
            raise error

    w.inner().before = fail
    with pytest.raises((KeyboardInterrupt, RuntimeError, SystemExit)):
        w.model().encode(texts)
    assert w.tally()["computed"] == 8
    w.inner().before = lambda batch: None
    assert vectors(w.model().encode(texts)) == right(texts)
    assert w.tally()["computed"] == 12
    assert len(w.batches()) == 4


@pytest.mark.usefixtures("slices_of_4")
def test_the_longest_texts_come_first_over_all_slices() -> None:
    """Texts of one length share a batch, so that little is padded."""
    w = world()
    texts = ["x" * (number % 7) + str(number) for number in range(12)]
    assert vectors(w.model().encode(texts)) == right(texts)
    lengths = [len(text) for batch in w.batches() for text in batch]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.usefixtures("slices_of_4")
def test_several_slices_have_one_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """The model's own bar is off then; for one slice, and where none was asked for, it decides."""
    pytest.importorskip("tqdm", reason="the progress bar is tqdm's")
    w = world()
    w.model().encode([str(number) for number in range(9)], show_progress_bar=True)
    assert "9/9" in capsys.readouterr().err
    assert [o["show_progress_bar"] for o in w.inner().options] == [False] * 3
    w.model().encode(["one", "two"], show_progress_bar=True)
    w.model().encode(["three"])
    assert w.inner().options[3]["show_progress_bar"] is True
    assert "show_progress_bar" not in w.inner().options[4]
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("slices_of_4")
def test_no_progress_bar_where_none_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed of its own accord."""
    world().model().encode([str(number) for number in range(9)])
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------ roles


def test_a_prompt_is_part_of_what_is_stored() -> None:
    """The same text under two prompts is two vectors, in one store, each found again."""
    w = world(prompts={"query": "q: ", "document": "d: "})
    model = w.model()
    for _ in range(2):
        assert vectors(model.encode(["a"])) == right(["a"])
        assert vectors(model.encode_query(["a"])) == right(["a"], "q: ")
        assert vectors(model.encode_document(["a"])) == right(["a"], "d: ")
        assert vectors(model.encode(["a"], prompt="x: ")) == right(["a"], "x: ")
        assert vectors(model.encode(["q: a"])) == right(["a"], "q: ")
    assert w.tally()["computed"] == 5
    assert w.tally()["found"] == {"memory": 5}


def test_a_routers_query_is_not_its_document() -> None:
    """The task reaches the model, and the two never share a vector."""
    w = world(has_roles=True)
    for _ in range(2):
        query = w.model().encode_query("a")
        document = w.model().encode_document("a")
        plain = w.model().encode("a")
        assert vectors(query) == pure_vector("w", (), 64, "query", "a").tobytes()
        assert vectors(document) == pure_vector("w", (), 64, "document", "a").tobytes()
        assert vectors(plain) == pure_vector("w", (), 64, None, "a").tobytes()
    assert w.tally()["computed"] == 3


def test_threads_that_use_different_prompts_get_each_its_own() -> None:
    """Eight threads, eight prompts, one text."""
    w = world()
    ready = threading.Barrier(8)
    found: dict[str, bytes] = {}

    def work(prompt: str) -> None:
        ready.wait()
        found[prompt] = vectors(w.model().encode(["a"], prompt=prompt))

    threads = [threading.Thread(target=work, args=(f"{n}: ",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {f"{n}: ": right(["a"], f"{n}: ") for n in range(8)}
