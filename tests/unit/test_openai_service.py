"""The fake of OpenAI's service: what it answers to which body; no `openai` package needed."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pytest_embedcache.testing.fake_model import fake_vector
from pytest_embedcache.testing.fake_openai import FakeOpenAI

SMALL = "text-embedding-3-small"


@pytest.fixture(scope="module")
def _service() -> Iterator[FakeOpenAI]:
    fake = FakeOpenAI()
    yield fake
    fake.close()


@pytest.fixture
def service(_service: FakeOpenAI) -> FakeOpenAI:
    """The module's service, as if it were new."""
    _service.requests.clear()
    return _service


def post(
    fake: FakeOpenAI, body: Any, path: str = "/v1/embeddings", **headers: str
) -> tuple[int, Any]:
    """Status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", int(fake.azure_endpoint.split(":")[2]))
    try:
        given = {"Authorization": f"Bearer {fake.api_key}"} | headers
        content = body if isinstance(body, str) else json.dumps(body)
        connection.request("POST", path, content, {k: v for k, v in given.items() if v})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def asking(fake: FakeOpenAI, **body: Any) -> tuple[int, Any]:
    """A body with the model and these fields."""
    return post(fake, {"model": SMALL, **body})


# ------------------------------------------------------------------------------ vectors


def test_rows_are_the_fake_vectors_by_index_and_usage_is_counted(service: FakeOpenAI) -> None:
    """Row i is that of input i, also for one given twice; tokens are a quarter of the bytes."""
    status, body = asking(service, input=["a cat", "dog", "a cat"])
    assert (status, body["object"], body["model"]) == (200, "list", SMALL)
    assert [row["index"] for row in body["data"]] == [0, 1, 2]
    rows = [np.array(row["embedding"], dtype=np.float32) for row in body["data"]]
    expected = [fake_vector(SMALL, text, 1536) for text in ("a cat", "dog", "a cat")]
    assert all(np.array_equal(a, b) for a, b in zip(rows, expected, strict=True))
    assert body["usage"] == {"prompt_tokens": 2 + 1 + 2, "total_tokens": 5}
    assert (service.texts, service.batch_sizes, service.tokens) == (
        ["a cat", "dog", "a cat"],
        [3],
        5,
    )


def test_base64_is_the_bits_of_the_same_vector(service: FakeOpenAI) -> None:
    """Little-endian float32, as the client reads it."""
    _, body = asking(service, input="a cat", encoding_format="base64")
    raw = base64.b64decode(body["data"][0]["embedding"])
    assert raw == fake_vector(SMALL, "a cat", 1536).astype("<f4").tobytes()


def test_fewer_dimensions_are_the_beginning_at_unit_length(service: FakeOpenAI) -> None:
    """As the models of the third generation shorten their vectors."""
    _, body = asking(service, input="a cat", dimensions=256)
    found = np.array(body["data"][0]["embedding"], dtype=np.float32)
    whole = fake_vector(SMALL, "a cat", 1536)[:256]
    assert found.shape == (256,)
    np.testing.assert_allclose(found, whole / np.linalg.norm(whole), atol=1e-6)


def test_token_arrays_are_inputs_and_count_as_they_are(service: FakeOpenAI) -> None:
    """One array is one input, a list of them several; the same tokens give the same vector."""
    _, one = asking(service, input=[1, 2, 3])
    _, two = asking(service, input=[[1, 2, 3], [4]])
    assert (len(one["data"]), len(two["data"])) == (1, 2)
    assert one["data"][0]["embedding"] == two["data"][0]["embedding"]
    assert two["data"][0]["embedding"] != two["data"][1]["embedding"]
    assert two["usage"]["total_tokens"] == 4
    assert service.texts == []


def test_a_test_may_have_its_own_models_and_vectors() -> None:
    """Any dimension, any function of the text; the default models stay as they are."""
    fake = FakeOpenAI()
    try:
        fake.models["mine"] = 3
        fake.vector = lambda model, text, size: np.full(size, len(text), dtype=np.float32)
        _, body = post(fake, {"model": "mine", "input": ["a", "bb"]})
        assert [row["embedding"] for row in body["data"]] == [[1.0] * 3, [2.0] * 3]
    finally:
        fake.close()


# ------------------------------------------------------------------------------ limits and errors


@pytest.mark.parametrize("count", [2048, 2049])
def test_more_than_2048_inputs_are_refused(service: FakeOpenAI, count: int) -> None:
    """2,048 are the most that an array may have."""
    status, body = asking(service, input=["x"] * count, dimensions=1)
    if count == 2048:
        assert (status, len(body["data"])) == (200, 2048)
    else:
        assert status == 400
        assert body["error"]["code"] == "array_above_max_length"
        assert body["error"]["param"] == "input"
        assert service.texts == []


def test_tokens_are_limited_by_input_and_by_request(service: FakeOpenAI) -> None:
    """8,192 in one input, 300,000 in all; one more is an error that says how many there were."""
    assert asking(service, input="x" * 4 * 8192, dimensions=1)[0] == 200
    status, body = asking(service, input=["fine", "x" * (4 * 8192 + 1)])
    assert status == 400
    assert "8193 tokens" in body["error"]["message"]
    most = [[1] * 7500] * 40
    assert asking(service, input=most, dimensions=1)[0] == 200
    status, body = asking(service, input=[*most, [1]])
    assert (status, body["error"]["code"]) == (400, "max_tokens_per_request")
    assert "300001" in body["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, None),
        ([], 400, None),
        ({"input": "a"}, 400, None),
        ({"model": "gpt-9", "input": "a"}, 404, "model_not_found"),
        ({"model": SMALL}, 400, "missing_required_parameter"),
        ({"model": SMALL, "input": ""}, 400, None),
        ({"model": SMALL, "input": []}, 400, None),
        ({"model": SMALL, "input": ["a", ""]}, 400, None),
        ({"model": SMALL, "input": ["a", 1]}, 400, None),
        ({"model": SMALL, "input": [[1], []]}, 400, None),
        ({"model": SMALL, "input": [True]}, 400, None),
        ({"model": SMALL, "input": {"a": 1}}, 400, None),
        ({"model": SMALL, "input": "a", "encoding_format": "hex"}, 400, "invalid_value"),
        ({"model": SMALL, "input": "a", "dimensions": 0}, 400, "invalid_value"),
        ({"model": SMALL, "input": "a", "dimensions": 1537}, 400, "invalid_value"),
        ({"model": "text-embedding-ada-002", "input": "a", "dimensions": 8}, 400, None),
    ],
)
def test_what_the_service_refuses_is_refused(
    service: FakeOpenAI, body: Any, status: int, code: str | None
) -> None:
    """With its status and the shape of its errors; nothing was embedded."""
    found, answer = post(service, body)
    assert (found, answer["error"]["code"]) == (status, code)
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert [request.status for request in service.requests] == [status]
    assert service.texts == []


def test_without_the_right_key_nothing_is_answered(service: FakeOpenAI) -> None:
    """No key and a wrong one are 401; the key is in no record of the request."""
    assert post(service, {}, Authorization="")[0] == 401
    status, body = post(service, {}, Authorization="Bearer sk-wrong-key")
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert "sk-wrong-key" not in json.dumps(body) + repr(service.requests)
    assert service.api_key not in repr(service.requests)


def test_other_paths_are_not_there(service: FakeOpenAI) -> None:
    """The fake embeds, and does nothing else."""
    status, body = post(service, {}, path="/v1/chat/completions")
    assert status == 404
    assert "/v1/chat/completions" in body["error"]["message"]
