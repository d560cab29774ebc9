"""The adapters for LangChain and LlamaIndex: the model's vectors, each computed once.

LangChain's own standard tests are in tests/adapters.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.children import python
from support.encoders import World, right, world
from support.own_defaults import own_defaults

from pytest_embedcache.vectors.cached_model import CachedModel

TEXTS = ["a cat", "", "a dog", "a cat"]
PROMPTS = {"query": "q: ", "document": "d: "}
KINDS = ("langchain", "llama_index")


def adapter_over(kind: str, *args: Any, **options: Any) -> Any:
    """An adapter of this kind; skips where its library is missing."""
    if kind == "langchain":
        pytest.importorskip("langchain_core", reason="needs langchain-core")
        from pytest_embedcache.adapters.langchain import CachedEmbeddings

        return CachedEmbeddings(*args, **options)
    pytest.importorskip("llama_index.core", reason="needs llama-index-core")
    from pytest_embedcache.adapters.llama_index import CachedEmbedding

    return CachedEmbedding(*args, **options)


class Asked:
    """Both libraries' adapters under one name each way of asking."""

    def __init__(self, adapter: Any) -> None:
        langchain = hasattr(adapter, "embed_query")
        self.adapter = adapter
        self._query = adapter.embed_query if langchain else adapter.get_query_embedding
        self._texts = adapter.embed_documents if langchain else adapter.get_text_embedding_batch
        self._aquery = adapter.aembed_query if langchain else adapter.aget_query_embedding
        self._atexts = adapter.aembed_documents if langchain else adapter.aget_text_embedding_batch

    def query(self, text: str) -> list[float]:
        return list(self._query(text))

    def texts(self, texts: list[str]) -> list[list[float]]:
        return list(self._texts(texts))

    def aquery(self, text: str) -> list[float]:
        return list(asyncio.run(self._aquery(text)))

    def atexts(self, texts: list[str]) -> list[list[float]]:
        return list(asyncio.run(self._atexts(texts)))


@pytest.fixture
def w() -> World:
    return world(prompts=PROMPTS)


@pytest.fixture(params=KINDS)
def asked(request: pytest.FixtureRequest, w: World) -> Asked:
    return Asked(adapter_over(request.param, w.model()))


def rows(found: list[list[float]]) -> bytes:
    """The bytes of lists of floats, after a look that they are what these libraries want."""
    assert type(found) is list
    assert all(type(row) is list for row in found)
    assert all(type(value) is float for row in found for value in row)
    return np.array(found, np.float32).tobytes()


# ------------------------------------------------------------------------------ vectors


def test_documents_are_the_models_documents(asked: Asked, w: World) -> None:
    """In the order of the texts, as lists of Python's floats, with the document's prompt."""
    assert rows(asked.texts(TEXTS)) == right(TEXTS, "d: ")


def test_a_query_is_the_models_query(asked: Asked, w: World) -> None:
    """With the query's prompt, and never the document's vector of the same text."""
    asked.texts(TEXTS)
    assert rows([asked.query("a cat")]) == right(["a cat"], "q: ")
    assert rows(asked.texts(["a cat"])) == right(["a cat"], "d: ")


def test_what_is_awaited_is_what_is_returned(asked: Asked) -> None:
    """Async and sync agree, float by float, whichever comes first."""
    assert asked.aquery("a cat") == asked.query("a cat")
    assert asked.texts(TEXTS) == asked.atexts(TEXTS)


def test_each_text_is_computed_once(asked: Asked, w: World) -> None:
    """For sync and async callers together, once in each role."""
    for _ in range(2):
        asked.texts(TEXTS)
        asked.atexts(TEXTS)
        asked.query("a cat")
        asked.aquery("a cat")
    assert w.tally()["computed"] == 4
    assert len(w.batches()) == 2


def test_no_texts_are_no_vectors(asked: Asked, w: World) -> None:
    """An empty list is answered without the model."""
    assert asked.texts([]) == []
    assert w.backend.loads == []


def test_a_copy_is_over_the_same_model(asked: Asked, w: World) -> None:
    """Frameworks copy their parts deeply; weights are not, and the store stays in use."""
    asked.texts(["a cat"])
    for make in (copy.copy, copy.deepcopy):
        again = Asked(make(asked.adapter))
        assert rows(again.texts(["a cat"])) == right(["a cat"], "d: ")
        assert again.aquery("a cat") == asked.query("a cat")
    assert w.tally()["computed"] == 2
    assert w.tally()["untrusted"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_there_takes_no_options(kind: str, w: World) -> None:
    """They would change nothing, and be silently ignored."""
    with pytest.raises(TypeError, match="device"):
        adapter_over(kind, w.model(), device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_given_by_name_too(kind: str, monkeypatch: pytest.MonkeyPatch, w: World) -> None:
    """With the options of `get_model`, which hands out the one that everybody has."""
    asked_for: list[Any] = []

    def get_model(name: Any, **options: Any) -> CachedModel:
        asked_for.append((name, options))
        return w.model()

    adapter_over(kind, w.model())  # imports the module
    monkeypatch.setattr("pytest_embedcache.adapters.get_model", get_model)
    asked = Asked(adapter_over(kind, "org/m", device="cpu", revision="v1"))
    assert asked_for == [("org/m", {"device": "cpu", "revision": "v1"})]
    assert rows([asked.query("a")]) == right(["a"], "q: ")


# ------------------------------------------------------------------------------ LlamaIndex


@pytest.fixture
def llama(w: World) -> Any:
    return adapter_over("llama_index", w.model())


def test_llama_index_hands_over_whole_batches(llama: Any, w: World) -> None:
    """600 texts are three calls of the model, not six hundred."""
    texts = [f"text {number}" for number in range(600)]
    assert rows(llama.get_text_embedding_batch(texts)) == right(texts, "d: ")
    assert [len(batch) for batch in w.batches()] == [256, 256, 88]


def test_llama_index_gets_single_texts_and_nodes(llama: Any) -> None:
    """As documents, by every method it has for them."""
    from llama_index.core.schema import TextNode

    expected = right(["a cat"], "d: ")
    assert rows([llama.get_text_embedding("a cat")]) == expected
    assert rows([asyncio.run(llama.aget_text_embedding("a cat"))]) == expected
    [node] = llama([TextNode(text="a cat")])
    assert rows([node.embedding]) == expected
    [node] = asyncio.run(llama.acall([TextNode(text="a cat")]))
    assert rows([node.embedding]) == expected


def test_llama_index_writes_it_down_and_reads_it_again(llama: Any, w: World) -> None:
    """`to_dict` and back, by way of the model's name; nothing of the model is in it."""
    from pytest_embedcache.adapters.llama_index import CachedEmbedding

    written = llama.to_dict()
    assert written["model_name"] == "m"
    assert written["class_name"] == "CachedEmbedding"
    assert llama.model_name == "m"
    with own_defaults(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_embedcache.adapters.get_model", lambda name, **o: w.model(name, **o))
        again = CachedEmbedding.from_dict(written)
    assert again.embed_batch_size == llama.embed_batch_size
    assert again.get_query_embedding("a") == llama.get_query_embedding("a")


def test_llama_indexs_own_cache_is_refused(w: World) -> None:
    """It has one key for a text as a query and as a document."""
    with pytest.raises(ValueError, match="query and as a document"):
        adapter_over("llama_index", w.model(), embeddings_cache=object())


# ------------------------------------------------------------------------------ missing, real


@pytest.mark.parametrize(
    ("kind", "package"), [("langchain", "langchain_core"), ("llama_index", "llama_index")]
)
def test_a_missing_library_is_an_error_that_names_the_extra(kind: str, package: str) -> None:
    """And an ImportError, for whoever catches that."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"try: import pytest_embedcache.adapters.{kind}\n"
        "except ImportError as error: print(error)"
    )
    assert f"pytest-embedcache[{kind.replace('_', '-')}]" in python(code)


@pytest.fixture
def real(minilm: Path) -> Iterator[Path]:
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with own_defaults():
        yield minilm
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_real_model_vectors_are_the_models(kind: str, real: Path) -> None:
    """The plain model's to 1e-6, of unit length, and the same floats the second time."""
    from sentence_transformers import SentenceTransformer

    asked = Asked(adapter_over(kind, str(real)))
    cold = asked.texts(["a cat", "a kitten", "quarterly revenue"])
    plain = SentenceTransformer(str(real), device="cpu")
    expected = plain.encode(["a cat", "a kitten", "quarterly revenue"])
    np.testing.assert_allclose(cold, expected, rtol=0, atol=1e-6)
    cat, kitten, revenue = (np.array(row) for row in cold)
    assert cat @ kitten > cat @ revenue
    assert asked.atexts(["a cat", "a kitten", "quarterly revenue"]) == cold
    assert asked.query("a cat") == cold[0]  # a model without prompts: one vector for all roles


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_can_be_sent_to_another_process(kind: str, real: Path) -> None:
    """A pickle holds which model it is, and comes back over the model of the process it is in."""
    asked = Asked(adapter_over(kind, str(real)))
    expected = asked.query("a cat")
    content = pickle.dumps(asked.adapter)
    assert len(content) < 10_000
    assert Asked(pickle.loads(content)).query("a cat") == expected


def test_importing_the_package_imports_neither_library() -> None:
    """Nor does `get_model`: adapters are for those who ask for one."""
    code = (
        "import sys, pytest_embedcache; pytest_embedcache.get_model\n"
        "print([name for name in ('langchain_core', 'llama_index') if name in sys.modules])"
    )
    assert python(code) == "[]"
