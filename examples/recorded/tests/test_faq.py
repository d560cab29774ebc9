"""Which answer fits a question: on the real all-MiniLM-L6-v2, by its recorded vectors."""

from __future__ import annotations

import numpy as np
import pytest

ANSWERS = {
    "password": "Open the settings, choose Security, and reset your password there.",
    "opening": "The shop is open from nine to six, and closed on Sundays.",
    "refund": "Send it back within thirty days, and you get your money back.",
}


@pytest.fixture(scope="session")
def answers(embedding_model):
    """The vectors of the answers, one row each."""
    return embedding_model.encode(list(ANSWERS.values()), normalize_embeddings=True)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How do I change my login?", "password"),
        ("Where do I set a new password?", "password"),
        ("When can I come by?", "opening"),
        ("Are you there on weekends?", "opening"),
        ("These shoes do not fit", "refund"),
        ("Wo bekomme ich mein Geld zurück? (my money)", "refund"),
    ],
)
def test_the_best_answer(embedding_model, answers, question, expected):
    """The answer whose vector is nearest is the one that a person would give."""
    asked = embedding_model.encode(question, normalize_embeddings=True)
    assert list(ANSWERS)[int(np.argmax(answers @ asked))] == expected


def test_the_model_tells_about_itself(embedding_model):
    """What the header of the recordings says needs no model either."""
    assert embedding_model.get_embedding_dimension() == 384
    assert embedding_model.max_seq_length == 256


def test_a_text_of_several_lines(embedding_model, answers):
    """A letter is one text; in review each of its lines is one."""
    letter = "Hello,\n\nI ordered shoes and want to return them.\n\nYours, Ann"
    asked = embedding_model.encode_query(letter, normalize_embeddings=True)
    assert int(np.argmax(answers @ asked)) == 2
