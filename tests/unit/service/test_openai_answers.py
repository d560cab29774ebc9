"""What a provider may answer in place of vectors."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_embedcache.errors import EncodeError
from pytest_embedcache.models.openai.answers import rows_of


def answer(*embeddings: Any) -> Any:
    rows = [SimpleNamespace(index=i, embedding=one) for i, one in enumerate(embeddings)]
    return SimpleNamespace(data=rows)


def test_numbers_and_base64_are_rows() -> None:
    """As float32, in the order of their index."""
    as_text = base64.b64encode(np.array([3, 4], "<f4").tobytes()).decode()
    found = rows_of(answer([1, 2], as_text), 2, "m")
    assert found.dtype == np.float32
    assert found.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "wrong",
    [
        "<html>no such page</html>",
        answer(None),
        answer(0.5),
        answer([[1.0, 2.0]]),
        answer([]),
        answer(""),
        answer("AAA"),
        answer("AAAA"),
        answer("!!AAAAAAAA??"),
        answer(["a", "b"]),
    ],
    ids=repr,
)
def test_what_is_no_vector_is_an_error_of_ours(wrong: Any) -> None:
    """Of the one class that says it: no part of it is taken for a vector, or for a text's fault."""
    with pytest.raises(EncodeError):
        rows_of(wrong, 1, "m")
