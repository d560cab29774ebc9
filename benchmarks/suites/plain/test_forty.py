"""Forty tests with a session fixture, as people write them."""

import os

import pytest
from sentence_transformers import SentenceTransformer


@pytest.fixture(scope="session")
def model():
    return SentenceTransformer(os.environ["BENCH_MODEL"], device="cpu")


@pytest.mark.parametrize("number", range(40))
def test_meaning(model, number):
    cat, kitten, revenue = model.encode(
        [f"a cat, number {number}", f"a kitten, number {number}", f"revenue of quarter {number}"]
    )
    assert cat @ kitten > cat @ revenue
