"""A `CachedModel` accepts and returns what a plain `SentenceTransformer` does: a table of calls.

Each call is made three times: on the plain model, cold, and warm. Cold, types, shapes and number
formats are equal and values agree to 1e-6; warm, every bit is that of the cold call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.variants import VARIANTS

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.tiered import TieredStore

sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="needs sentence-transformers"
)
torch = pytest.importorskip("torch", reason="needs torch")
HAS_ROLES = hasattr(sentence_transformers.SentenceTransformer, "encode_query")
TOLERANCE = 1e-6

TEXTS = ["a cat", "a dog sits", "", "a cat", "kitten revenue 123", "cat " * 40, "\u00fcn\u0131code"]
MANY = [f"cat {number}" for number in range(101)]

Call = Callable[[Any], Any]
CALLS: dict[str, Call] = {
    "one text": lambda m: m.encode("a cat"),
    "an empty text": lambda m: m.encode(""),
    "a list": lambda m: m.encode(TEXTS),
    "a list of one": lambda m: m.encode(["a cat"]),
    "a tuple": lambda m: m.encode(tuple(TEXTS)),
    "an array of str": lambda m: m.encode(np.array(TEXTS)),
    "an array of objects": lambda m: m.encode(np.array(TEXTS, dtype=object)),
    "an empty list": lambda m: m.encode([]),
    "an empty list, tensor": lambda m: m.encode([], convert_to_tensor=True),
    "an empty list, list": lambda m: m.encode([], convert_to_numpy=False),
    "by name": lambda m: m.encode(sentences=["a cat"]),
    "prompt by position": lambda m: m.encode(["a cat"], None, "b "),
    "prompt": lambda m: m.encode(TEXTS, prompt="b "),
    "empty prompt": lambda m: m.encode(TEXTS, prompt=""),
    "prompt name": lambda m: m.encode(TEXTS, prompt_name="sts"),
    "prompt name query": lambda m: m.encode(TEXTS, prompt_name="query"),
    "both prompts": lambda m: m.encode(TEXTS, prompt_name="sts", prompt="b "),
    "an unknown prompt": lambda m: m.encode(TEXTS, prompt_name="nope"),
    "an unknown prompt for nothing": lambda m: m.encode([], prompt_name="nope"),
    "normalized": lambda m: m.encode(TEXTS, normalize_embeddings=True),
    "batch size": lambda m: m.encode(TEXTS, batch_size=2),
    "batch size by position": lambda m: m.encode(TEXTS, None, None, 2),
    "batch size 0": lambda m: m.encode(["a cat"], batch_size=0),
    "tensor": lambda m: m.encode(TEXTS, convert_to_tensor=True),
    "tensor of one": lambda m: m.encode("a cat", convert_to_tensor=True),
    "list of tensors": lambda m: m.encode(TEXTS, convert_to_numpy=False),
    "list of tensors of one": lambda m: m.encode("a cat", convert_to_numpy=False),
    "float32": lambda m: m.encode(TEXTS, precision="float32"),
    "binary": lambda m: m.encode(TEXTS, precision="binary"),
    "ubinary": lambda m: m.encode(TEXTS, precision="ubinary"),
    "binary of one": lambda m: m.encode(["a cat"], precision="binary"),
    "int8": lambda m: m.encode(MANY, precision="int8"),
    "uint8": lambda m: m.encode(MANY, precision="uint8"),
    "int8, tensor": lambda m: m.encode(MANY, precision="int8", convert_to_tensor=True),
    "int8, list": lambda m: m.encode(MANY, precision="int8", convert_to_numpy=False),
    "an unknown precision": lambda m: m.encode(TEXTS, precision="int3"),
    "token embeddings": lambda m: m.encode(["a cat", "a"], output_value="token_embeddings"),
    "token embeddings of one": lambda m: m.encode("a cat", output_value="token_embeddings"),
    "everything": lambda m: m.encode(["a cat"], output_value=None),
    "an unknown argument": lambda m: m.encode(["a cat"], image_size=3),
    "no progress bar": lambda m: m.encode(TEXTS, show_progress_bar=False),
    "device": lambda m: m.encode(TEXTS, device="cpu"),
    "nothing": lambda m: m.encode(),
    "None": lambda m: m.encode(None),
    "a number": lambda m: m.encode(7),
    "a generator": lambda m: m.encode(text for text in ["a cat"]),
    "a set": lambda m: m.encode({"a cat"}),
    "None in a list": lambda m: m.encode(["a cat", None]),
    "a number in a list": lambda m: m.encode(["a cat", 7]),
    "a lone surrogate": lambda m: m.encode(["a cat", "\ud800"]),
    "pairs": lambda m: m.encode([("a cat", "a dog"), ("a", "b")]),
    "a dict": lambda m: m.encode({"text": "a cat"}),
    "dicts": lambda m: m.encode([{"text": "a cat"}]),
    "bytes": lambda m: m.encode([b"a cat"]),
}
ROLES: dict[str, Call] = {
    "query": lambda m: m.encode_query(TEXTS),
    "one query": lambda m: m.encode_query("a cat"),
    "document": lambda m: m.encode_document(TEXTS),
    "document, tensor": lambda m: m.encode_document(TEXTS, convert_to_tensor=True),
    "query with a prompt": lambda m: m.encode_query(TEXTS, prompt="b "),
    "query with a prompt name": lambda m: m.encode_query(TEXTS, "sts"),
    "document by name": lambda m: m.encode_document(sentences=["a cat"]),
    "pair as a document": lambda m: m.encode_document([("a cat", "a dog")]),
    "truncated query": lambda m: m.encode_query(TEXTS, truncate_dim=3),
    "truncated": lambda m: m.encode(TEXTS, truncate_dim=3),
    "truncated to more": lambda m: m.encode(TEXTS, truncate_dim=1000),
    "truncated to nothing": lambda m: m.encode(TEXTS, truncate_dim=0),
    "truncated and normalized": lambda m: m.encode(
        TEXTS, truncate_dim=3, normalize_embeddings=True
    ),
    "int8 of one": lambda m: m.encode(["a cat"], precision="int8"),
}
if HAS_ROLES:
    CALLS |= ROLES
else:
    del CALLS["an empty list"]  # an IndexError of version 3, which ours does not repeat


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    registry = ModelRegistry(cache_dir=tmp_path_factory.mktemp("cache"))
    yield registry
    registry.clear()


@pytest.fixture(scope="module", params=["MiniLM", *VARIANTS])
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "MiniLM":
        found: Path = request.getfixturevalue("minilm")
        return found
    path = tmp_path_factory.mktemp("variant") / request.param.replace(" ", "-")
    VARIANTS[request.param](path)
    return path


@pytest.fixture(scope="module")
def plain(model_path: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(model_path), device="cpu")


@pytest.fixture
def cached(registry: ModelRegistry, model_path: Path) -> CachedModel:
    """Over an empty store; the model behind is loaded once for all tests."""
    cache = VectorCache(TieredStore([MemoryStore()]))
    return CachedModel(registry, ModelSpec(str(model_path), device="cpu"), cache)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Beside other processes, two threads on two cores take a hundred times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)


def outcome(call: Call, model: Any) -> Any:
    """What the call returns, or the type of what it raises."""
    try:
        return call(model)
    except Exception as error:
        return type(error)


def check(found: Any, expected: Any, tolerance: float) -> None:
    """Assert that both are of one form, and one value to `tolerance`; 0 is bit by bit."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            check(found[name], expected[name], tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check(one, other, tolerance)
    elif isinstance(expected, np.ndarray | torch.Tensor):
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert getattr(found, "device", None) == getattr(expected, "device", None)
        close(np.asarray(found), np.asarray(expected), tolerance)
    else:
        assert found == expected


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    if not tolerance:
        assert found.tobytes() == expected.tobytes()
        return
    if found.dtype in (np.int8, np.uint8) and found.shape[-1:] and len(found) == len(MANY):
        # A difference of 1e-7 may fall on the other side of a step; of a hundred steps, one.
        difference = np.abs(found.astype(int) - expected.astype(int))
        assert difference.max(initial=0) <= 1
        assert (difference > 0).mean() < 0.01
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_call_has_the_result_or_the_error_of_the_plain_model(
    name: str, plain: Any, cached: CachedModel
) -> None:
    """Cold as the plain model, and warm as cold."""
    call = CALLS[name]
    expected = outcome(call, plain)
    cold = outcome(call, cached)
    check(cold, expected, TOLERANCE)
    check(outcome(call, cached), cold, 0)
    assert not cached._source.load().handed_out


@pytest.mark.skipif(not HAS_ROLES, reason="before version 5 there are no roles")
def test_the_arguments_are_those_of_the_installed_version() -> None:
    """Each of its parameters is one of ours, at the same place, with the same default."""
    import inspect

    theirs = inspect.signature(sentence_transformers.SentenceTransformer.encode).parameters
    ours = inspect.signature(CachedModel.encode).parameters
    assert list(ours) == list(theirs)
    for name in list(theirs)[2:]:
        assert ours[name].default == theirs[name].default, name
        assert ours[name].kind == theirs[name].kind, name


def test_what_is_known_without_a_load_is_what_the_loaded_model_says(
    plain: Any, model_path: Path, tmp_path: Path
) -> None:
    """Dimension, prompts, default prompt, similarity, truncation, and the length in tokens."""
    if not HAS_ROLES and model_path.name == "truncated":
        pytest.skip("before version 5 truncate_dim and similarity are not read from the files")
    registry = ModelRegistry(cache_dir=tmp_path)
    cache = VectorCache(TieredStore([MemoryStore()]))
    cached = CachedModel(registry, ModelSpec(str(model_path), device="cpu"), cache)
    ask = getattr(plain, "get_embedding_dimension", None) or plain.get_sentence_embedding_dimension
    assert cached.get_embedding_dimension() == ask()
    assert cached.prompts == plain.prompts
    assert cached.default_prompt_name == plain.default_prompt_name
    assert cached.truncate_dim == plain.truncate_dim
    assert (cached.similarity_fn_name or "cosine") == (plain.similarity_fn_name or "cosine")
    assert not cached.is_loaded
    assert cached.max_seq_length == plain.max_seq_length


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning")  # in version 3
@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarities_are_those_of_the_plain_model(
    name: str, plain: Any, registry: ModelRegistry, model_path: Path
) -> None:
    """For all four functions, matrices and pairs, and every form in which vectors come."""
    cache = VectorCache(TieredStore([MemoryStore()]))
    cached = CachedModel(registry, ModelSpec(str(model_path), device="cpu"), cache)
    before = plain.similarity_fn_name
    first, second = plain.encode(TEXTS), plain.encode(TEXTS[::-1])
    forms: list[Callable[[np.ndarray], Any]] = [
        lambda rows: rows,
        torch.from_numpy,
        list,
        lambda rows: rows.tolist(),
    ]
    if HAS_ROLES:  # version 3 raises for these
        forms += [lambda rows: rows[0], lambda rows: list(torch.from_numpy(rows))]
        forms.append(lambda rows: rows.astype(np.float16))
    try:
        plain.similarity_fn_name = cached.similarity_fn_name = name
        for form in forms:
            a, b = form(first), form(second)
            for method in ("similarity", "similarity_pairwise"):
                found = getattr(cached, method)(a, b)
                expected = getattr(plain, method)(a, b)
                assert type(found) is type(expected)
                assert found.shape == expected.shape
                np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-5)
    finally:
        plain.similarity_fn_name = cached.similarity_fn_name = before
