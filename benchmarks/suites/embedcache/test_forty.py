"""The same forty tests with `embedding_model`."""

import pytest


@pytest.mark.parametrize("number", range(40))
def test_meaning(embedding_model, number):
    cat, kitten, revenue = embedding_model.encode(
        [f"a cat, number {number}", f"a kitten, number {number}", f"revenue of quarter {number}"]
    )
    assert cat @ kitten > cat @ revenue
