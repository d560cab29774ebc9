"""`Batcher`: callers share calls of the model, and each gets the rows of its own texts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.encoders import pure_vector

from pytest_embedcache.errors import EncodeError
from pytest_embedcache.models.batching import Batcher


def vector(text: str, options: Mapping[str, Any] | None = None) -> np.ndarray:
    return pure_vector("model", f"{sorted((options or {}).items())}{text}", size=8)


class Model:
    """Notes its calls; with a gate, the first waits until it is opened."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], dict[str, Any]]] = []
        self.gate = threading.Event()
        self.inside = threading.Event()
        self.gate.set()

    def __call__(self, texts: list[str], options: Mapping[str, Any]) -> Any:
        self.calls.append((texts, dict(options)))
        self.inside.set()
        assert self.gate.wait(120)
        if "bad" in texts:
            raise ValueError("a bad text")
        return np.stack([vector(text, options) for text in texts])


def together(
    model: Model, batcher: Batcher, *asked: tuple[list[str], dict[str, Any]]
) -> list[list[np.ndarray] | Exception]:
    """What several callers get who all ask while the model computes something else."""
    model.gate.clear()
    with ThreadPoolExecutor(len(asked) + 1) as pool:
        first = pool.submit(batcher.rows, ["first"])
        assert model.inside.wait(120)
        threads = [pool.submit(batcher.rows, *one) for one in asked]
        while len(batcher._waiting) < len(asked):
            threading.Event().wait(0.001)
        model.gate.set()
        first.result()
        return [thread.exception() or thread.result() for thread in threads]  # type: ignore[misc]


def same(rows: Any, texts: list[str], options: Mapping[str, Any] | None = None) -> bool:
    return np.array_equal(np.stack(rows), np.stack([vector(text, options) for text in texts]))


def test_who_asks_at_the_same_time_shares_a_call() -> None:
    """While one call is under way three callers queue up: one call serves them, each text once."""
    model = Model()
    batcher = Batcher(model, "m")
    asked = [["a", "b"], ["b", "c"], ["a"]]
    got = together(model, batcher, *((texts, {}) for texts in asked))
    assert all(same(rows, texts) for rows, texts in zip(got, asked, strict=True))
    assert [len(texts) for texts, _ in model.calls] == [1, 3]
    told = batcher.batches.as_dict()
    assert (told["calls"], told["asked"], told["encoded"], told["shared"]) == (2, 6, 4, 1)
    assert told["sizes"] == {"1": 1, "4": 1}


def test_calls_of_other_options_are_not_mixed() -> None:
    """A text with and without normalising is two texts, in two calls."""
    model = Model()
    batcher = Batcher(model, "m")
    got = together(model, batcher, (["a"], {}), (["a"], {"normalize_embeddings": True}))
    assert same(got[0], ["a"])
    assert same(got[1], ["a"], {"normalize_embeddings": True})
    assert [options for _, options in model.calls] == [{}, {}, {"normalize_embeddings": True}]


def test_one_callers_bad_text_is_not_the_others_error() -> None:
    """The shared call fails, each is called by itself, and only the bad one gets the error."""
    model = Model()
    batcher = Batcher(model, "m")
    got = together(model, batcher, (["a"], {}), (["bad"], {}))
    assert same(got[0], ["a"])
    assert isinstance(got[1], ValueError)
    assert same(batcher.rows(["b"]), ["b"])


def test_a_text_that_is_being_computed_is_not_computed_again() -> None:
    """Who asks for it meanwhile gets that row; who asks when it is done has it computed anew."""
    model = Model()
    batcher = Batcher(model, "m")
    got = together(model, batcher, (["first", "a"], {}), (["first"], {"batch_size": 1}))
    assert same(got[0], ["first", "a"])
    assert same(got[1], ["first"], {"batch_size": 1})
    assert [texts for texts, _ in model.calls] == [["first"], ["a"], ["first"]]
    assert same(batcher.rows(["first"]), ["first"])
    assert len(model.calls) == 4


def test_many_texts_are_split_and_come_back_in_order() -> None:
    """No call has more texts than the size, whatever one caller asks for."""
    model = Model()
    batcher = Batcher(model, "m", size=4)
    texts = [f"text {n}" for n in range(11)]
    assert same(batcher.rows(texts), texts)
    assert [len(called) for called, _ in model.calls] == [4, 4, 3]
    assert batcher.rows([]) == []


def test_a_model_that_returns_too_few_rows_is_an_error() -> None:
    """No row is handed out where the model did not return one for each text."""
    batcher = Batcher(lambda texts, options: np.zeros((1, 8)), "m")
    with pytest.raises(EncodeError):
        batcher.rows(["a", "b"])


def test_threads_get_their_own_rows() -> None:
    """Eight threads with overlapping texts: every row is that of its text, however calls fall."""
    model = Model()
    batcher = Batcher(model, "m", size=16)
    texts = [[f"text {(n * 7 + i) % 50}" for i in range(9)] for n in range(64)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(batcher.rows, texts))
    assert all(same(rows, asked) for rows, asked in zip(got, texts, strict=True))
    assert all(len(called) <= 16 for called, _ in model.calls)
    assert batcher.batches.asked == 64 * 9
