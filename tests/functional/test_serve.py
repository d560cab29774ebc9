"""`embedcache serve` as a process of its own, asked over HTTP."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.asgi import Answer
from support.served import Hold, Server, needs_serve, served

from pytest_embedcache.testing.fake_vectors import fake_vectors

MODEL = "all-MiniLM-L6-v2"
pytestmark = needs_serve


def expected(text: str, role: str = "document") -> np.ndarray:
    """What the fake behind the server has for a text: float32 of shape (384,)."""
    return fake_vectors("lexical", [text], 384, model=MODEL, role=role)[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests of this module that change nothing about it."""
    with served("--dir", str(tmp_path_factory.mktemp("cache"))) as running:
        yield running


@pytest.fixture
def pool() -> Iterator[Callable[..., Future[Answer]]]:
    """Calls that wait beside the test."""
    with ThreadPoolExecutor(8) as executor:
        yield executor.submit


# ------------------------------------------------------------------------------ routes


def test_a_text_is_a_vector_and_then_a_hit(server: Server) -> None:
    """The fields of the original; the second time it is found, and costs nothing."""
    first = server.post("/embed/text", text="a cat").json
    assert sorted(first) == ["cached", "cost", "dimension", "embedding", "model"]
    assert (first["dimension"], first["model"], first["cached"]) == (384, MODEL, False)
    assert np.array_equal(np.array(first["embedding"], np.float32), expected("a cat"))
    again = server.post("/embed/text", text="a cat").json
    assert again == first | {"cached": True, "cost": 0.0}


def test_a_query_is_not_a_document(server: Server) -> None:
    """The same text in the other role is another vector, and a miss."""
    server.post("/embed/text", text="which cat?")
    query = server.post("/embed/query", query="which cat?").json
    assert query.get("cached") is False, query
    assert np.array_equal(np.array(query["embedding"], np.float32), expected("which cat?", "query"))


def test_a_batch_has_a_row_for_each_text_also_for_the_empty_one(server: Server) -> None:
    """In order, duplicates and all; as JSON and as raw rows alike."""
    texts = ["z", "", "a cat of a batch", "z"]
    batch = server.post("/embed/batch", texts=texts, batch_size=2).json
    assert (batch["total_embeddings"], batch["dimension"], batch["total_cost"]) == (4, 384, 0.0)
    rows = np.array(batch["embeddings"], np.float32)
    assert np.array_equal(rows, np.stack([expected(text) for text in texts]))
    raw = server.post("/embed/raw", texts=texts)
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["x-embedcache-dimension"] == "384"
    assert raw.headers["x-embedcache-rows"] == raw.headers["x-embedcache-cached"] == "4"
    assert raw.headers["x-embedcache-model"] == MODEL
    assert raw.content == rows.astype("<f4").tobytes()


def test_the_models_their_default_and_the_health_are_told(server: Server) -> None:
    """What can be asked for, and that the server lives."""
    models = server.get("/embed/models").json
    assert models["default"] == MODEL
    assert {"text-embedding-3-small", "all-mpnet-base-v2", MODEL} <= set(models["models"])
    health = server.get("/embed/health").json
    assert (health["status"], health["default_model"]) == ("healthy", MODEL)
    assert health["caching_enabled"] is True
    listed = server.get("/v1/models").json["data"]
    assert {row["id"] for row in listed} == set(models["models"])
    assert [server.get(f"/v1/models/{row['id']}").json for row in listed] == listed
    whole = server.get(f"/v1/models/sentence-transformers/{MODEL}").json
    assert whole["id"] == MODEL  # as where vectors are asked for
    missing = server.ask("GET", "/v1/models/nobody/knows-it")
    assert (missing.status, missing.json["error"]["code"]) == (404, "model_not_found")


def test_metrics_are_counted_reset_and_told_to_prometheus(server: Server) -> None:
    """Texts, hits and answers; a reset begins anew, and Prometheus' counters go on."""
    from prometheus_client.parser import text_string_to_metric_families

    server.post("/embed/metrics/reset")
    server.post("/embed/batch", texts=["counted once", "counted once too"])
    server.post("/embed/text", text="counted once")
    figures = server.figures()
    assert figures["total_embeddings_generated"] == 2
    assert figures["cache_hit_rate"] == pytest.approx(1 / 3)
    assert figures["total_cost_usd"] == 0
    assert figures["models_loaded"] == [MODEL]
    assert server.ask("POST", "/embed/metrics/reset").json["status"] == "success"
    assert server.figures()["total_embeddings_generated"] == 0
    answer = server.get("/metrics")
    families = list(text_string_to_metric_families(answer.content.decode()))
    samples = {
        (sample.name, sample.labels.get("route"), sample.labels.get("status")): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["embedcache_http_requests_total", "/embed/batch", "200"] >= 1
    labels = {name for family in families for sample in family.samples for name in sample.labels}
    assert "counted once" not in answer.content.decode()
    assert labels <= {"model", "provider", "tier", "role", "route", "status", "le", "source"}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/embed/text", {"text": 5}, 422, "string"),
        ("/embed/text", {}, 422, "missing"),
        ("/embed/text", {"text": "a", "modle": MODEL}, 422, "modle"),
        ("/embed/text", {"text": "a", "model": "another"}, 404, "another"),
        ("/embed/batch", {"texts": "a"}, 422, "list"),
        ("/embed/batch", {"texts": ["a", None]}, 422, "string"),
        ("/embed/batch", {"texts": ["a"], "batch_size": 0}, 422, "batch_size"),
        ("/embed/batch", {"texts": ["a"] * 2049}, 422, "2,048"),
        ("/embed/text", {"text": "\ud800"}, 422, "JSON"),
        ("/embed/nothing", {}, 404, "Not Found"),
    ],
)
def test_a_body_that_is_none_is_refused_by_name(
    server: Server, path: str, body: Any, status: int, said: str
) -> None:
    """4xx, with what is wrong and where."""
    reply = server.ask("POST", path, body)
    assert reply.status == status
    assert said in reply.content.decode()


# ------------------------------------------------------------------------------ OpenAI's client


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    """The real one, of the `openai` package."""
    openai = pytest.importorskip("openai")
    transport = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", http_client=transport, max_retries=0
    ) as made:
        yield made


@pytest.mark.parametrize("form", [None, "float", "base64"])
def test_openais_client_gets_rows_in_order(client: Any, form: str | None) -> None:
    """One string or many, in each format that it asks for."""
    options = {} if form is None else {"encoding_format": form}
    texts = [f"{form} a", f"{form} b", f"{form} a"]
    answer = client.embeddings.create(model=MODEL, input=texts, **options)
    assert [row.index for row in answer.data] == [0, 1, 2]
    for row, text in zip(answer.data, texts, strict=True):
        numbers = row.embedding
        if isinstance(numbers, str):
            numbers = np.frombuffer(base64.b64decode(numbers), "<f4")
        assert np.array_equal(np.array(numbers, np.float32), expected(text))
    assert answer.model == MODEL
    one = client.embeddings.create(model=MODEL, input=texts[0], **options)
    assert (len(one.data), one.usage.total_tokens) == (1, 0)


def test_openais_client_can_have_fewer_dimensions(client: Any) -> None:
    """The first ones, at unit length again; more than there are is an error."""
    openai = pytest.importorskip("openai")
    answer = client.embeddings.create(model=MODEL, input="cut", dimensions=16)
    cut = np.array(answer.data[0].embedding, np.float32)
    assert np.allclose(cut, expected("cut")[:16] / np.linalg.norm(expected("cut")[:16]), atol=1e-6)
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input="cut", dimensions=385)
    assert refused.value.param == "dimensions"


@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        ({"input": "a", "model": "another"}, "NotFoundError", "model_not_found"),
        ({"input": [1, 2, 3]}, "BadRequestError", "tokens_not_supported"),
        ({"input": [[1, 2], [3]]}, "BadRequestError", "tokens_not_supported"),
        ({"input": []}, "BadRequestError", None),
        ({"input": ["a"] * 2049}, "BadRequestError", "array_above_max_length"),
        ({"input": "a", "encoding_format": "int8"}, "BadRequestError", "invalid_value"),
        ({"input": "a", "extra_body": {"dim": 3}}, "BadRequestError", "unknown_parameter"),
    ],
)
def test_openais_client_gets_its_own_errors(
    client: Any, body: dict[str, Any], error: str, code: str | None
) -> None:
    """Of the class and with the code that the client knows."""
    openai = pytest.importorskip("openai")
    with pytest.raises(getattr(openai, error)) as refused:
        client.embeddings.create(**{"model": MODEL, **body})
    assert refused.value.code == code


# ------------------------------------------------------------------------------ together


def test_identical_requests_at_once_are_encoded_once(
    server: Server, pool: Callable[..., Future[Answer]], tmp_path: Path
) -> None:
    """Eight that ask for the same while it is encoded, and one of them goes away: one text."""
    hold = Hold(tmp_path / "hold")
    before = server.figures()["total_embeddings_generated"]
    gone = server.connection()
    gone.request("POST", "/embed/text", f'{{"text": "{hold.text}"}}', _JSON)
    hold.wait()
    waiting = [pool(server.post, "/embed/text", text=hold.text) for _ in range(7)]
    gone.close()
    hold.release()
    replies = [future.result() for future in waiting]
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json["embedding"][0] for reply in replies}) == 1
    assert server.figures()["total_embeddings_generated"] - before == 1


_JSON = {"Content-Type": "application/json"}


def test_too_many_waiting_and_too_long_are_told_and_hits_are_not_kept_waiting(
    tmp_path: Path, pool: Callable[..., Future[Answer]]
) -> None:
    """429 with Retry-After beyond the bound, 504 after the time; the late text is stored."""
    limits = ("--max-waiting", "1", "--timeout", "0.3")
    with served("--dir", str(tmp_path), *limits) as server:
        assert server.post("/embed/text", text="known").status == 200
        hold = Hold(tmp_path / "hold")
        late = pool(server.post, "/embed/text", text=hold.text)
        hold.wait(late)
        second = pool(server.post, "/embed/text", text="second")
        assert late.result().status == 504
        assert second.result().status == 504
        full = server.post("/v1/embeddings", input=["third", "fourth"], model=MODEL)
        assert (full.status, full.json["error"]["code"]) == (429, "too_many_waiting")
        assert int(full.headers["retry-after"]) >= 1
        assert server.post("/embed/text", text="known").json["cached"] is True
        hold.release()
        _until(lambda: server.figures()["total_embeddings_generated"] == 2)
        assert server.post("/embed/text", text=hold.text).json["cached"] is True


# ------------------------------------------------------------------------------ ends


def test_a_stop_finishes_what_was_accepted(
    tmp_path: Path, pool: Callable[..., Future[Answer]]
) -> None:
    """After SIGTERM the request in the model is answered, new ones are not; the status is 0."""
    server = Server("--dir", str(tmp_path))
    hold = Hold(tmp_path / "hold")
    accepted = pool(server.post, "/embed/text", text=hold.text)
    hold.wait(accepted)
    server.terminate()
    _until(lambda: _is_deaf(server))
    hold.release()
    reply = accepted.result()
    assert (reply.status, reply.json["cached"]) == (200, False)
    status, errors = server.ended()
    assert (status, "Traceback" in errors) == (0, False), errors


def test_a_stop_does_not_wait_for_ever(tmp_path: Path, pool: Callable[..., Future[Answer]]) -> None:
    """What is in a model after the drain is cut off, and the server says what it has given up."""
    server = Server("--dir", str(tmp_path), "--drain", "0.1")
    hold = Hold(tmp_path / "hold")
    accepted = pool(server.post, "/embed/text", text=hold.text)
    hold.wait(accepted)
    server.terminate()
    status, errors = server.ended()
    assert (status, "Traceback" in errors) == (1, False), errors
    assert "given up: calls: 1, batches under way: 1" in errors
    assert (accepted.result().status, accepted.result().headers["retry-after"]) == (503, "1")


def _is_deaf(server: Server) -> bool:
    try:
        server.get("/embed/health")
    except OSError:
        return True
    return False


def _until(is_so: Callable[[], bool]) -> None:
    """What another process does cannot be waited for otherwise."""
    wait = threading.Event()
    while not is_so():
        wait.wait(0.01)


def test_a_killed_server_loses_nothing_that_it_answered(
    tmp_path: Path, pool: Callable[..., Future[Answer]]
) -> None:
    """After `kill -9` in the middle of a batch, the next one finds what the first had answered."""
    place = tmp_path / "s"
    arguments = ("--dir", str(tmp_path / "cache"), "--uds", str(place))
    first = Server(*arguments)
    texts = [f"acknowledged {n}" for n in range(40)]
    answered = first.post("/embed/raw", texts=texts)
    hold = Hold(tmp_path / "hold")
    lost = pool(first.post, "/embed/batch", texts=["on the way", hold.text])
    hold.wait(lost)
    first.kill()
    with pytest.raises(OSError, match=r".*") as cut:
        lost.result()
    assert isinstance(cut.value, ConnectionError)
    assert place.exists()
    with served(*arguments) as second:
        again = second.post("/embed/raw", texts=texts)
        assert again.content == answered.content
        assert again.headers["x-embedcache-cached"] == "40"
        assert second.figures()["total_embeddings_generated"] == 0
    assert not place.exists()


def test_a_host_for_others_needs_a_token(tmp_path: Path) -> None:
    """The command says so, and serves nothing."""
    with pytest.raises(AssertionError, match="EMBEDCACHE_TOKEN"):
        Server("--host", "0.0.0.0", "--port", "0", "--dir", str(tmp_path))
