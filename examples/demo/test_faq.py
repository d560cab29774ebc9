"""The code under test asks for its model itself, by `get_model`, and gets the fixtures' one."""

import pytest
from faq import Faq

ANSWERS = {
    "How can I return an item?": "Send it back within 30 days.",
    "When are you open?": "Every day from 9 to 18.",
    "Do you ship abroad?": "To all of Europe.",
    "How can I pay?": "By card or by invoice.",
}


@pytest.fixture
def faq():
    return Faq(ANSWERS)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("I want to send my purchase back.", "Send it back within 30 days."),
        ("What are your opening hours?", "Every day from 9 to 18."),
        ("Is delivery to another country possible?", "To all of Europe."),
        ("Can I pay by card?", "By card or by invoice."),
    ],
)
def test_other_words_find_the_answer(faq, question, answer):
    assert faq.ask(question) == answer


def test_what_nobody_asked_before_has_no_answer(faq):
    assert faq.ask("Who won the chess tournament in 1927?") is None
