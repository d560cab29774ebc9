"""The contract of an embedding model: whatever has `encode`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pytest_embedcache.testing.contracts.capabilities import Contract, at_once, needs
from pytest_embedcache.testing.contracts.texts import LONG, TEXTS, UNICODE

__all__ = ["EmbeddingModelContract"]


class EmbeddingModelContract(Contract):
    """What every embedding model promises. The fixture `model` gives one.

    Beside it, for an implementation that has the capability:

    - the fixture `faults` (capability `faults`): an object whose `fail(error)` lets the next call
      of the engine behind the model raise, and whose `fewer_rows()` lets it answer with a row less;
      `pytest_embedcache.testing.faults.Faults` is one;
    - the fixture `load_count` (capability `load_count`): called, it says how often the model has
      been loaded so far.

    Attributes:
        tolerance: How far two computations of one text may be apart, as the largest difference
            of a component, in units of the vector's largest. Encoders differ by about 1e-6 between
            batches.
    """

    tolerance = 1e-5

    @pytest.fixture
    def model(self) -> Any:
        raise NotImplementedError("a subclass gives the fixture `model`")

    @pytest.fixture
    def faults(self) -> Any:
        raise NotImplementedError("a subclass gives the fixture `faults`, or lacks it")

    @pytest.fixture
    def load_count(self) -> Callable[[], int]:
        raise NotImplementedError("a subclass gives the fixture `load_count`, or lacks it")

    def agree(self, found: Any, expected: Any) -> bool:
        """Whether two answers are the same but for the tolerance."""
        one, other = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        if one.shape != other.shape:
            return False
        scale = np.abs(other).max(initial=0.0)
        return bool(np.abs(one - other).max(initial=0.0) <= self.tolerance * scale)

    # ------------------------------------------------------------------------- shapes and types

    def test_a_list_of_texts_gives_one_row_for_each(self, model: Any) -> None:
        """Two-dimensional, and as many rows as texts."""
        found = model.encode([f"shape: {text}" for text in TEXTS])
        assert np.ndim(found) == 2
        assert len(found) == len(TEXTS)

    def test_a_single_text_gives_one_vector(self, model: Any) -> None:
        """One-dimensional, and that of the same text in a list."""
        found = model.encode("a single text")
        assert np.ndim(found) == 1
        assert self.agree(found, model.encode(["a single text"])[0])

    @needs("arrays")
    def test_vectors_are_arrays_of_float32(self, model: Any) -> None:
        """Of numpy; not lists, and not float64."""
        found = model.encode([f"float32: {text}" for text in TEXTS])
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float32

    def test_all_components_are_finite(self, model: Any) -> None:
        """Neither NaN nor infinite, and not all of them zero."""
        found = np.asarray(model.encode([f"finite: {text}" for text in TEXTS]))
        assert np.isfinite(found).all()
        assert np.abs(found).max(axis=1).min() > 0

    @needs("dimension")
    def test_the_dimension_is_what_it_says(self, model: Any) -> None:
        """`get_embedding_dimension` is the number of columns."""
        ask = getattr(model, "get_embedding_dimension", None)
        said = ask() if ask else model.get_sentence_embedding_dimension()
        assert said == np.shape(model.encode(["a dimension"]))[1]

    @needs("unit_length")
    def test_vectors_are_of_unit_length(self, model: Any) -> None:
        """So that a dot product is a cosine."""
        found = np.asarray(model.encode([f"unit: {text}" for text in TEXTS]), np.float64)
        lengths = np.linalg.norm(found, axis=1)
        assert lengths == pytest.approx(np.ones(len(lengths)), abs=1e-4)

    @needs("sequences")
    def test_tuples_and_arrays_are_batches_too(self, model: Any) -> None:
        """Not only lists."""
        expected = model.encode(list(TEXTS))
        for inputs in (tuple(TEXTS), np.array(TEXTS)):
            assert self.agree(model.encode(inputs), expected)

    # ------------------------------------------------------------------------- the right vector

    def test_the_same_call_gives_the_same_vectors(self, model: Any) -> None:
        """Determinism."""
        texts = [f"determinism, {text}" for text in TEXTS]
        assert self.agree(model.encode(texts), model.encode(texts))

    def test_different_texts_have_different_vectors(self, model: Any) -> None:
        """No two of them."""
        found = np.asarray(model.encode([f"{number} mice" for number in (*range(9), "ten")]))
        assert len({row.tobytes() for row in found}) == 10

    def test_row_i_is_the_vector_of_text_i(self, model: Any) -> None:
        """In the order of the caller, whatever the lengths of the texts are."""
        texts = ["short", "a text that is longer than the others by far", "a middling text", "x"]
        alone = [model.encode([text])[0] for text in texts]
        assert self.agree(model.encode(texts), alone)

    def test_a_text_given_twice_has_its_vector_twice(self, model: Any) -> None:
        """Duplicates are neither dropped nor confused."""
        found = model.encode(["twin", "other", "twin", "twin"])
        assert len(found) == 4
        for place in (2, 3):
            assert self.agree(found[place], found[0])

    def test_a_vector_does_not_depend_on_its_batch(self, model: Any) -> None:
        """Alone, among forty others, and in small steps, to the tolerance."""
        others = [f"neighbour {number} " + "word " * (number % 7) for number in range(40)]
        alone = model.encode(["in a batch"])[0]
        assert self.agree(model.encode([*others, "in a batch"])[-1], alone)
        assert self.agree(model.encode(["in a batch", *others])[0], alone)

    @needs("batch_size")
    def test_a_vector_does_not_depend_on_the_batch_size(self, model: Any) -> None:
        """One at a time, by threes, or all at once."""
        texts = [f"batch size {number}" for number in range(7)]
        expected = model.encode(texts, batch_size=64)
        for size in (1, 3):
            assert self.agree(model.encode(texts, batch_size=size), expected)

    # ------------------------------------------------------------------------- odd texts

    def test_no_texts_give_no_rows(self, model: Any) -> None:
        """An empty list is no error."""
        assert len(model.encode([])) == 0

    def test_the_empty_text_has_a_vector(self, model: Any) -> None:
        """Like any other, also among others."""
        found = np.asarray(model.encode(["", "not empty"]))
        assert len(found) == 2
        assert np.isfinite(found).all()

    def test_a_long_text_has_a_vector(self, model: Any) -> None:
        """20,000 words are cut or read, and no error."""
        found = np.asarray(model.encode([LONG, "not long"]))
        assert len(found) == 2
        assert np.isfinite(found).all()

    def test_every_kind_of_unicode_has_a_vector(self, model: Any) -> None:
        """Emoji, marks, both directions, scripts without spaces, controls."""
        found = np.asarray(model.encode(UNICODE))
        assert len(found) == len(UNICODE)
        assert np.isfinite(found).all()

    @needs("exact_texts")
    def test_texts_are_taken_exactly(self, model: Any) -> None:
        """Nothing is stripped, folded or normalised: each of these has a vector of its own."""
        texts = ["exact \u00e9", "exact e\u0301", "Exact \u00e9", " exact \u00e9", "exact \u00e9 "]
        assert len({np.asarray(row).tobytes() for row in model.encode(texts)}) == len(texts)

    # ------------------------------------------------------------------------- roles and options

    @needs("role_methods")
    def test_roles_take_what_encode_takes(self, model: Any) -> None:
        """`encode_query` and `encode_document`: one text or many, in order."""
        for encode in (model.encode_query, model.encode_document):
            found = encode(["first role", "second role"])
            assert np.shape(found)[0] == 2
            assert self.agree(encode("second role"), found[1])

    @needs("role_methods", "roles")
    def test_a_query_is_not_a_document(self, model: Any) -> None:
        """One text has two vectors in two roles, also where one was computed before the other."""
        for text in ("in two roles", "in two roles, again"):
            query, document = model.encode_query([text]), model.encode_document([text])
            assert not self.agree(query, document)
            assert self.agree(model.encode_query([text]), query)

    @needs("options")
    def test_truncation_keeps_the_first_components(self, model: Any) -> None:
        """`truncate_dim`, also for a text that was asked for whole before."""
        whole = model.encode(["to be cut"])
        cut = model.encode(["to be cut"], truncate_dim=3)
        assert np.shape(cut) == (1, 3)
        assert self.agree(np.asarray(cut) / np.abs(cut).max(), whole[:, :3] / np.abs(cut).max())

    @needs("options")
    def test_normalising_gives_unit_length(self, model: Any) -> None:
        """`normalize_embeddings`, after cutting."""
        found = model.encode(["to scale", "too"], truncate_dim=3, normalize_embeddings=True)
        assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1], abs=1e-4)

    @needs("arrays")
    def test_a_returned_array_is_the_callers(self, model: Any) -> None:
        """It can be written to, and that changes no later answer."""
        first = model.encode(["mine", "mine too"])
        before = first.copy()
        first[:] = 7
        assert self.agree(model.encode(["mine", "mine too"]), before)
        model.encode("mine")[:] = 7
        assert self.agree(model.encode("mine"), before[0])

    @needs("arrays")
    def test_rows_of_one_text_are_apart(self, model: Any) -> None:
        """Writing into one row of an answer leaves the others as they are."""
        found = model.encode(["row", "row"])
        before = found[1].copy()
        found[0] = 7
        assert np.array_equal(found[1], before)

    def test_the_callers_list_is_left_alone(self, model: Any) -> None:
        """It is neither sorted nor emptied."""
        texts = ["z", "a much longer text than z", "m"]
        model.encode(texts)
        assert texts == ["z", "a much longer text than z", "m"]

    # ------------------------------------------------------------------------- at once

    def test_threads_get_the_vectors_of_their_own_texts(self, model: Any) -> None:
        """Eight at once, with batches that overlap."""
        batches = [[f"thread text {(start + n) % 12}" for n in range(6)] for start in range(8)]
        right = {text: model.encode([text])[0] for text in sorted({t for b in batches for t in b})}
        fresh = [[*batch, f"only of thread {n}"] for n, batch in enumerate(batches)]
        answers = at_once(*(_asking(model, batch) for batch in fresh))
        for batch, found in zip(fresh, answers, strict=True):
            assert len(found) == len(batch)
            assert self.agree(found[:-1], [right[text] for text in batch[:-1]])

    @needs("async")
    def test_sync_and_async_agree(self, model: Any) -> None:
        """`aencode`, for several callers at once."""
        batches = [["asked", f"asynchronously {number}"] for number in range(5)]

        async def ask() -> list[Any]:
            return list(await asyncio.gather(*(model.aencode(batch) for batch in batches)))

        for batch, found in zip(batches, asyncio.run(ask()), strict=True):
            assert self.agree(found, model.encode(batch))

    @needs("load_count")
    def test_it_is_loaded_once_for_everybody(
        self, model: Any, load_count: Callable[[], int]
    ) -> None:
        """Eight threads and many calls are one load."""
        at_once(*(_asking(model, [f"load {n}"]) for n in range(8)))
        for number in range(3):
            model.encode([f"later {number}"])
        assert load_count() == 1

    # ------------------------------------------------------------------------- bad days

    def test_what_is_no_text_is_refused(self, model: Any) -> None:
        """None, a number, or a list with one in it: `ValueError` or `TypeError`, never a vector."""
        for inputs in (None, 7, ["a text", None], ["a text", 7]):
            with pytest.raises((ValueError, TypeError)) as caught:
                model.encode(inputs)
            assert str(caught.value), "the error says nothing"

    @needs("faults")
    def test_an_error_behind_it_is_the_callers(self, model: Any, faults: Any) -> None:
        """The very error, not a vector and not silence."""
        faults.fail(ConnectionError("the engine is away"))
        with pytest.raises(ConnectionError, match="the engine is away"):
            model.encode(["asked on a bad day"])

    @needs("faults")
    def test_an_error_passes(self, model: Any, faults: Any) -> None:
        """The next call of the same texts is answered: a failure is not kept."""
        faults.fail(ConnectionError("away for a moment"))
        with pytest.raises(Exception):  # noqa: B017, PT011 - which, is another check's matter
            model.encode(["after a bad day"])
        assert np.isfinite(np.asarray(model.encode(["after a bad day"]))).all()

    @needs("faults", "short_answers")
    def test_a_short_answer_is_an_error(self, model: Any, faults: Any) -> None:
        """Fewer vectors than texts from what is behind: never rows of other texts."""
        faults.fewer_rows()
        with pytest.raises(Exception) as caught:  # noqa: PT011 - every kind of model has its own
            model.encode(["one of three", "two of three", "three of three"])
        assert not isinstance(caught.value, IndexError | KeyError), "an accident, not a check"
        assert "3" in str(caught.value), "the error does not say how many were expected"


def _asking(model: Any, batch: Sequence[str]) -> Callable[[], Any]:
    return lambda: model.encode(list(batch))
