"""Forty tests that need an embedding model, each with three texts of its own."""

import math

import pytest


def cosine(a, b):
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


@pytest.mark.parametrize("number", range(40))
def test_a_cat_is_closer_to_a_kitten_than_to_revenue(embedding_model, number):
    cat, kitten, revenue = embedding_model.encode(
        [f"a cat, {number} years old", f"a kitten, number {number}", f"revenue of quarter {number}"]
    )
    assert cosine(cat, kitten) > cosine(cat, revenue)
