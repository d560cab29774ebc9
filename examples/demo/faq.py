"""The code under test: finds the answer whose question is closest in meaning."""

from __future__ import annotations

import numpy as np

from pytest_embedcache import get_model

MODEL = "all-MiniLM-L6-v2"


class Faq:
    """Questions and their answers; `ask` takes a question in other words."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.model = get_model(MODEL)
        self.questions = list(answers)
        self.answers = answers
        self.vectors = self.model.encode(self.questions)

    def ask(self, question: str, *, at_least: float = 0.4) -> str | None:
        """The answer to the closest known question, None where none comes close."""
        similarities = self.vectors @ self.model.encode(question)  # rows have unit length
        best = int(np.argmax(similarities))
        return self.answers[self.questions[best]] if similarities[best] >= at_least else None
