"""Answers with many numbers: written in pieces, beside the event loop, and the same as at once."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("orjson")

import orjson

from pytest_embedcache.service.http import answers
from pytest_embedcache.service.results import BatchEmbeddings

MANY, FEW = 300, 2


def matrix(rows: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(rows, 384)).astype(np.float32)


def batch(rows: np.ndarray) -> BatchEmbeddings:
    return BatchEmbeddings(rows, 384, "m", 1, 0, Decimal("0.5"), 0, None, False)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[threading.Thread, int]]:
    """Of each piece of JSON: the thread that wrote it, and its bytes."""
    pieces = []
    dumps = orjson.dumps

    def noted(*args: Any) -> bytes:
        found: bytes = dumps(*args)
        pieces.append((threading.current_thread(), len(found)))
        return found

    monkeypatch.setattr(answers.orjson, "dumps", noted)
    return pieces


def beside(written: list[tuple[threading.Thread, int]]) -> bool:
    return {thread is not threading.main_thread() for thread, _ in written} == {True}


@pytest.mark.parametrize("count", [MANY, FEW, 0])
def test_a_batch_is_one_object_however_it_is_written(count: int, written: Any) -> None:
    """Row i for text i, and the other fields; a large one in small pieces, off the loop."""
    rows = matrix(count)
    found = json.loads(asyncio.run(answers.batch(batch(rows))).body)
    embeddings = np.array(found.pop("embeddings"), np.float32).reshape(-1, 384)
    assert np.array_equal(embeddings, rows)
    rest = {"dimension": 384, "model": "m", "total_embeddings": count}
    assert found == rest | {"cached_count": 1, "total_cost": 0.5}
    assert beside(written) == (count == MANY)
    assert max(size for _, size in written) < 1_000_000


@pytest.mark.parametrize("form", ["float", "base64"])
@pytest.mark.parametrize("count", [MANY, FEW])
def test_openais_answer_is_one_object_however_it_is_written(
    count: int, form: str, written: Any
) -> None:
    """Every row with its index, in order."""
    rows = matrix(count)
    answer = asyncio.run(answers.openai("m", rows, 7, base64=form == "base64"))
    found = json.loads(answer.body)
    assert (found["object"], found["model"]) == ("list", "m")
    assert found["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [row["index"] for row in found["data"]] == list(range(count))
    assert {row["object"] for row in found["data"]} == {"embedding"}
    for row, right in zip(found["data"], rows, strict=True):
        numbers = row["embedding"]
        if form == "base64":
            numbers = np.frombuffer(base64.b64decode(numbers), "<f4")
        assert np.array_equal(np.array(numbers, np.float32), right)
    assert beside(written) == (count == MANY)
    assert answer.headers["content-length"] == str(len(answer.body))
