"""The model's meaning, by the fixture `embedding_model`: one model for all these tests."""

import pytest


@pytest.mark.parametrize(
    ("text", "close", "far"),
    [
        ("a cat", "a kitten", "quarterly revenue"),
        ("How do I get my money back?", "refund policy", "opening hours"),
        ("The train was late.", "There was a delay on the railway.", "The soup was salty."),
        ("Python is a programming language.", "Software is written in code.", "Snakes shed skin."),
        ("The doctor examined the patient.", "a medical check-up", "a football match"),
        ("It rains cats and dogs.", "heavy rain", "pet food"),
    ],
)
def test_close_in_meaning_is_close_in_space(embedding_model, text, close, far):
    vectors = embedding_model.encode([text, close, far])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_a_vector_has_384_numbers_and_unit_length(embedding_model):
    vector = embedding_model.encode("a cat")
    assert vector.shape == (384,)
    assert vector @ vector == pytest.approx(1.0, abs=1e-5)


def test_the_same_text_has_the_same_vector(embedding_model):
    assert (embedding_model.encode("a cat") == embedding_model.encode("a cat")).all()
