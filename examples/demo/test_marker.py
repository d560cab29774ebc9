"""A test can name its model. A short and a full name mean one model, which is loaded once."""

import pytest


@pytest.mark.embedcache(model="sentence-transformers/all-MiniLM-L6-v2", device="cpu")
def test_the_marked_model_understands_numbers(embedding_model):
    two, deux, war = embedding_model.encode(["two", "2", "the history of war"])
    assert two @ deux > two @ war


@pytest.mark.embedcache(model="sentence-transformers/all-MiniLM-L6-v2")
def test_the_prefixed_name_is_the_same_fixture(embedcache_model):
    assert embedcache_model.encode(["a", "b"]).shape == (2, 384)
