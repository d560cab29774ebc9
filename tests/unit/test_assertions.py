"""Assertions about meaning: they hold, they fail, and a failure shows what was found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.encoders import world

from pytest_embedcache.testing.assertions import assert_dissimilar, assert_ranking, assert_similar
from pytest_embedcache.testing.fake_model import FakeEmbeddingModel

#: On a circle: the cosine of two is that of the angle between them.
ANGLES = {"north": 90, "north-east": 45, "east": 0, "south": -90}
TABLE = {
    name: [np.cos(np.radians(angle)), np.sin(np.radians(angle))] for name, angle in ANGLES.items()
}


@pytest.fixture
def model() -> FakeEmbeddingModel:
    return FakeEmbeddingModel(kind="table", table=TABLE)


def failure(assertion: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **options)
    return str(caught.value)


def test_texts_are_similar_to_a_bound(model: FakeEmbeddingModel) -> None:
    """At the bound itself, for one text and for several; one call each."""
    assert_similar(model, "north", "north-east")
    assert_similar(model, "north", ["north-east", "north"], at_least=0.7)
    assert_dissimilar(model, "north", "east")
    assert_dissimilar(model, ["east", "north"], "south", at_most=1e-6)
    assert model.batch_sizes == [2, 3, 2, 3]
    assert {call.role for call in model.calls} == {None}


def test_a_failure_shows_the_similarities(model: FakeEmbeddingModel) -> None:
    """All of them, the worst first, with a sign at those that failed; and the nearest texts."""
    assert failure(assert_similar, model, "north", "east").splitlines() == [
        "1 of 1 similarities is not at least 0.7",
        "  ✗  0.0000  'north' and 'east'",
    ]
    text = failure(assert_similar, model, ["north", "east"], ["north-east", "south"])
    assert text.splitlines() == [
        "2 of 4 similarities are not at least 0.7",
        "  ✗ -1.0000  'north' and 'south'",
        "  ✗  0.0000  'east' and 'south'",
        "     0.7071  'north' and 'north-east'",
        "     0.7071  'east' and 'north-east'",
        "  nearest to 'north' is 'north-east' (0.7071)",
        "  nearest to 'east' is 'north-east' (0.7071)",
    ]
    text = failure(assert_dissimilar, model, "north", ["north-east", "south"])
    assert text.splitlines()[:2] == [
        "1 of 2 similarities is not at most 0.3",
        "  ✗  0.7071  'north' and 'north-east'",
    ]


def test_a_failure_of_many_is_short() -> None:
    """Ten lines of them; long texts are cut."""
    texts = [f"{number} " + "x" * 100 for number in range(20)]
    text = failure(assert_similar, FakeEmbeddingModel(kind="hash"), "a", texts)
    assert "and 10 more" in text
    assert max(map(len, text.splitlines())) < 120


def test_a_broken_vector_is_not_similar_to_anything(model: FakeEmbeddingModel) -> None:
    """NaN fails on both sides."""
    for assertion in (assert_similar, assert_dissimilar):
        model.faults.not_finite()
        assert "nan" in failure(assertion, model, "north", "east")


def test_a_ranking_is_the_expected_one(model: FakeEmbeddingModel) -> None:
    """By document or index, whole or its beginning; a query and documents are in their roles."""
    documents = ["south", "east", "north-east"]
    assert_ranking(model, "north", documents, ["north-east", "east", "south"])
    assert_ranking(model, "north", documents, [2, 1])
    assert_ranking(model, "north", documents, ["north-east"])
    methods = [(call.method, call.role, len(call.texts)) for call in model.calls]
    assert methods == [("encode_query", "query", 1), ("encode_document", "document", 3)] * 3


def test_a_failed_ranking_is_shown_whole(model: FakeEmbeddingModel) -> None:
    """With similarity, rank, and the place that was expected."""
    text = failure(assert_ranking, model, "north", ["south", "east", "north-east"], ["east"])
    assert text.splitlines() == [
        "the documents are not ranked as expected for the query 'north'",
        "  rank  expected  similarity  document",
        "     1                0.7071  'north-east'",
        "     2         1      0.0000  'east'",
        "     3               -1.0000  'south'",
    ]


def test_equal_similarities_have_no_order(model: FakeEmbeddingModel) -> None:
    """Either order is right."""
    table = {"q": [1, 0], "a": [0.6, 0.8], "b": [0.6000001, -0.8], "c": [0, 1]}
    tied = FakeEmbeddingModel(kind="table", table=table)
    assert_ranking(tied, "q", ["a", "b", "c"], ["a", "b"])
    assert_ranking(tied, "q", ["a", "b", "c"], ["b", "a"])
    assert "0.6" in failure(assert_ranking, tied, "q", ["a", "b", "c"], ["c"])


def test_a_ranking_is_by_the_models_own_similarity() -> None:
    """A longer vector wins by the dot product, a nearer one by distance."""
    table = {"q": [1, 0], "long": [3, 3], "near": [0.9, 0.3]}
    model = FakeEmbeddingModel(kind="table", table=table)
    assert_ranking(model, "q", ["long", "near"], ["near", "long"])
    model.similarity_fn_name = "dot"
    assert_ranking(model, "q", ["long", "near"], ["long", "near"])
    for name in ("euclidean", "manhattan"):
        model.similarity_fn_name = name
        assert_ranking(model, "q", ["long", "near"], ["near", "long"])


def test_what_cannot_be_compared_is_said(model: FakeEmbeddingModel) -> None:
    """Before the model is asked."""
    with pytest.raises(ValueError, match="there is no text"):
        assert_similar(model, "north", [])
    with pytest.raises(ValueError, match="expected 'west' is neither"):
        assert_ranking(model, "north", ["south"], ["west"])
    with pytest.raises(ValueError, match="expected 1 is neither"):
        assert_ranking(model, "north", ["south"], [1])
    with pytest.raises(ValueError, match="each of them once"):
        assert_ranking(model, "north", ["south"], ["south", 0])
    assert model.calls == []


class Plain:
    """A model of an older make: without roles, and with lists for vectors."""

    def encode(self, texts: list[str]) -> list[list[float]]:
        return [TABLE[text] for text in texts]


def test_any_model_will_do() -> None:
    """One without roles; one behind a store."""
    assert_similar(Plain(), "north", "north-east")
    assert_ranking(Plain(), "north", ["south", "east"], ["east", "south"])
    cached = world(size=32).model()
    assert_similar(cached, "a", "a", at_least=0.999)
    assert_dissimilar(cached, "a", "b", at_most=0.9)
    assert_ranking(cached, "a", ["b", "a"], ["a"])


def test_lexical_fakes_are_enough_for_plain_words() -> None:
    """A suite that tests search by words needs no model."""
    model = FakeEmbeddingModel()
    faq = ["How to reset your password", "Opening hours", "Return an article"]
    assert_ranking(model, "reset my password", faq, [0])
    assert_ranking(model, "when do you open", faq, ["Opening hours"])
    assert_dissimilar(model, faq[0], faq[1:])
    assert_similar(model, "Return an article", "return the article!")


def test_it_works_with_the_real_model(minilm: Path) -> None:
    """A plain SentenceTransformer, whose vectors may be tensors."""
    pytest.importorskip("sentence_transformers")
    assert "sentence_transformers" in sys.modules
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm), device="cpu")
    assert_similar(model, "a cat", "a kitten", at_least=0.7)
    assert_dissimilar(model, "a cat", "quarterly revenue")
    documents = ["Opening hours", "Forgotten password"]
    assert_ranking(model, "I cannot log in", documents, ["Forgotten password", "Opening hours"])
    text = failure(assert_similar, model, "a cat", ["quarterly revenue", "a kitten"])
    assert "nearest to 'a cat' is 'a kitten'" in text
