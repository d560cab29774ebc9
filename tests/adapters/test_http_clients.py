"""What others wrote, against a running server: an HTTP fuzz, LangChain's client and LlamaIndex'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.served import Server, needs_serve, served

MODEL = "all-MiniLM-L6-v2"
TEXTS = ["a cat", "a kitten", "a cat"]
pytestmark = needs_serve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests of this module."""
    with served("--dir", str(tmp_path_factory.mktemp("cache"))) as running:
        yield running


@pytest.fixture
def rows(server: Server) -> np.ndarray:
    """What the server's own route gives for the texts."""
    raw = server.post("/embed/raw", texts=TEXTS).content
    return np.frombuffer(raw, "<f4").reshape(len(TEXTS), -1)


def test_a_fuzz_of_the_openapi_document_finds_no_failure_of_the_server(server: Server) -> None:
    """Whatever schemathesis makes of the document, no answer is 5xx, and each is as described."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi import checks

    checked = [
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.status_code_conformance,
    ]
    asked: Counter[tuple[str, int]] = Counter()
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()

        # What has no body cannot be made wrong.
        modes = list(schemathesis.GenerationMode) if len(operation.body) else [None]
        for mode in modes:
            made = operation.as_strategy(**({} if mode is None else {"generation_mode": mode}))

            @settings(
                max_examples=20,
                deadline=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=made)
            def fuzz(case: Any) -> None:
                answer = case.call()
                asked[f"{case.method.upper()} {case.path}", answer.status_code // 100] += 1
                assert answer.status_code < 500, (case.path, case.body, answer.text)
                case.validate_response(answer, checks=checked)

            fuzz()
    for path in ("POST /embed/batch", "POST /embed/text", "POST /v1/embeddings"):
        assert asked[path, 4] > 5, path
    assert asked["POST /embed/text", 2] + asked["POST /embed/query", 2] > 5
    assert asked["GET /embed/health", 2] > 0


def test_langchains_openai_client_works_unchanged(server: Server, rows: np.ndarray) -> None:
    """`OpenAIEmbeddings` with this server's URL has the server's vectors."""
    module = pytest.importorskip("langchain_openai")
    client = module.OpenAIEmbeddings(
        model=MODEL,
        base_url=f"{server.url}/v1",
        api_key="none",
        check_embedding_ctx_length=False,
    )
    assert np.array_equal(np.array(client.embed_documents(TEXTS), np.float32), rows)
    assert np.array_equal(np.array(client.embed_query(TEXTS[0]), np.float32), rows[0])


def test_llama_indexs_openai_client_works_unchanged(server: Server, rows: np.ndarray) -> None:
    """`OpenAIEmbedding` with this server's URL has the server's vectors."""
    module = pytest.importorskip("llama_index.embeddings.openai")
    client = module.OpenAIEmbedding(
        model_name=MODEL, api_base=f"{server.url}/v1", api_key="none", max_retries=0
    )
    found = client.get_text_embedding_batch(TEXTS)
    assert np.array_equal(np.array(found, np.float32), rows)
