"""A prepared model: what sentence-transformers does around a graph, done without it."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graphs import WIDTH, expected, prepared

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnx")

from pytest_embedcache.models.onnx import model as module
from pytest_embedcache.models.onnx import session
from pytest_embedcache.models.onnx.model import OnnxModel
from pytest_embedcache.models.onnx.tokens import Tokens

CLS, SEP, PAD = 1, 2, 0
Make = Callable[..., OnnxModel]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(**changes)`: a prepared model, whose description differs in `changes`."""

    def make(**changes: Any) -> OnnxModel:
        return OnnxModel(prepared(tmp_path / f"m{len(os.listdir(tmp_path))}", **changes), threads=1)

    return make


def ids_of(model: OnnxModel, text: str) -> list[int]:
    """By the tokenizer itself, with nothing cut and nothing padded."""
    from tokenizers import Tokenizer

    fresh = Tokenizer.from_str(model.tokenizer.to_str())
    fresh.no_truncation()
    fresh.no_padding()
    return list(fresh.encode(text).ids)


def size_of(model: OnnxModel) -> int:
    return int(model.tokenizer.get_vocab_size())


# ----------------------------------------------------------------------------------------- tokens


def test_what_the_tokenizers_file_says_of_padding_and_length_does_not_count(make: Make) -> None:
    """It is baked in by whoever saved it; transformers sets both anew, from the model's length."""
    model = make()
    text = "a cat and the dog of the cat"
    ids = ids_of(model, text)
    assert len(ids) > 5  # at which the file would cut
    found = model.encode([text, "a"])
    np.testing.assert_allclose(found[:1], expected([ids], size_of(model)), atol=1e-5)


@pytest.mark.parametrize("limit", [None, math.inf, 1e30, 10**30, 2**40])
def test_a_length_that_is_none_cuts_nothing(make: Make, limit: float | None) -> None:
    """Of a model without a limit, transformers says 10**30, a StaticEmbedding infinity."""
    model = make(max_seq_length=limit)
    text = "cat " * 500
    assert model.max_seq_length == limit
    (encoding,) = model._tokens.encode([text], limit)
    assert len(encoding.ids) == 502
    assert model.encode(text).shape == (WIDTH,)


@pytest.mark.parametrize(("left", "kept"), [(False, slice(0, 3)), (True, slice(-3, None))])
def test_a_text_is_cut_to_the_length_that_holds_now(make: Make, left: bool, kept: slice) -> None:
    """Special tokens are counted, and stay; a new length counts from the next call on."""
    model = make(cuts_left=left)
    text = "a cat of the dog and kitten"
    inner = ids_of(model, text)[1:-1]
    for limit in (5, 24, 5):
        model.max_seq_length = limit
        ids = [CLS, *(inner[kept] if limit == 5 else inner), SEP]
        np.testing.assert_allclose(model.encode([text]), expected([ids], size_of(model)), atol=1e-5)


def test_the_tokenizer_is_changed_only_where_the_length_is(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change rebuilds it, and another thread may be using it."""
    model = make()
    calls: list[float] = []

    class Counting:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def enable_truncation(self, limit: int, **options: Any) -> None:
            calls.append(limit)
            self.inner.enable_truncation(limit, **options)

    monkeypatch.setattr(model._tokens, "tokenizer", Counting(model._tokens.tokenizer))
    for limit in (24, 24, 7, 7, 24):
        model.max_seq_length = limit
        model.encode(["a cat", "a dog"])
    assert calls == [24, 7, 24]


@pytest.mark.parametrize("left", [False, True])
def test_padding_is_the_models_own(tmp_path: Path, left: bool) -> None:
    """Its token is not 0 for every model, and for some it comes first."""
    rules = {"pad_first": False, "pad_id": 1, "pad_type_id": 3, "pads_left": left}
    model = OnnxModel(prepared(tmp_path / "m", **rules), threads=1)
    arrays = model._tokens.inputs(model._tokens.encode(["a", "a cat"], None), prompt=1)
    short, fill = [0, 5, 2], [1]
    assert arrays["input_ids"][0].tolist() == (fill + short if left else short + fill)
    assert arrays["attention_mask"][0].tolist() == ([0, 1, 1, 1] if left else [1, 1, 1, 0])
    assert arrays["token_type_ids"][0].tolist() == ([3, 0, 0, 0] if left else [0, 0, 0, 3])
    assert arrays["pooling_mask"][0].tolist() == ([0, 0, 1, 1] if left else [0, 1, 1, 0])
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int64)}


def test_texts_in_a_row_begin_where_the_offsets_say(tmp_path: Path) -> None:
    """As a StaticEmbedding takes them: no special tokens, and cut as the tokenizer's file says."""
    rules = {"flat": True, "special": False, "truncates": False}
    tokens = Tokens(
        prepared(tmp_path / "m") / "tokenizer.json",
        OnnxModel(prepared(tmp_path / "n", **rules)).description.rules,
    )
    encodings = tokens.encode(["a cat", "", "cat " * 9, "dog"], 3)
    arrays = tokens.inputs(encodings)
    assert arrays["offsets"].tolist() == [0, 2, 2, 7]
    assert arrays["input_ids"].tolist() == [5, 6, *[6] * 5, 8]


@pytest.mark.parametrize(("strip", "lower", "seen"), [(True, False, "A b"), (False, True, " a b ")])
def test_a_text_is_treated_as_the_version_of_its_maker_does(
    make: Make, strip: bool, lower: bool, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older ones strip it, the prompt's white space too; a model may ask for small letters."""
    model = make(strip=strip, lower=lower)
    texts: list[str] = []
    monkeypatch.setattr(model._tokens, "_batch", lambda listed, **_: texts.extend(listed) or [])
    model._tokens.encode([" A b "], None)
    assert texts == [seen]


# ------------------------------------------------------------------------------------- the vectors


def test_rows_are_in_the_callers_order_whatever_was_computed_together(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is what it is alone, in any batch, and of any length."""
    monkeypatch.setattr(module, "RUN_TOKENS", 40)
    monkeypatch.setattr(module, "_TOKENIZED", 7)
    model = make()
    words = ["cat", "dog", "a", "revenue"]
    texts = [" ".join(words[(i + j) % 4] for j in range(i % 11)) for i in range(50)]
    whole = expected([ids_of(model, text) for text in texts], size_of(model))
    for batch_size in (1, 3, 32):
        np.testing.assert_allclose(model.encode(texts, batch_size=batch_size), whole, atol=1e-5)


def test_a_run_is_bounded_in_padded_tokens_and_in_texts() -> None:
    """Its memory grows with them; a text that is too long by itself has a run of its own."""
    lengths = [600, 3, 500, 5000, 2, 700, 4]
    runs = list(module._runs(lengths, 3))
    assert sorted(place for run in runs for place in run) == list(range(7))
    assert runs == [[3], [5, 0], [2, 6, 1], [4]]
    for run in runs[1:]:
        assert len(run) * max(lengths[place] for place in run) <= module.RUN_TOKENS


def test_a_vector_holds_no_more_than_itself(make: Make) -> None:
    """What a session returns lies in its arena, all of which one kept vector would hold."""
    model = make()
    arrays = model._tokens.inputs(model._tokens.encode(["a cat"], None))
    assert model._session.run(arrays).flags.owndata
    row = model.encode(["a cat", "a dog"], truncate_dim=4)
    assert row.flags.writeable
    assert row.base is None or row.base.nbytes <= 2 * WIDTH * 4


def test_what_large_runs_had_is_given_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the call, and not after one of a few texts; and what a load had, when it is done."""
    asked: list[str] = []
    monkeypatch.setattr(session, "trim", lambda: asked.append("load"))
    monkeypatch.setattr(module, "trim", lambda: asked.append("runs"))
    model = make(max_seq_length=None)
    assert asked == ["load"]
    model.encode(["a cat", "a dog"])
    assert asked == ["load"]
    model.encode(["a cat " * 500] * 4)
    assert asked == ["load", "runs"]


def test_a_graph_is_fed_what_it_asks_for(make: Make) -> None:
    """Types of tokens that it does not use but wants; nothing that it does not know."""
    model = make()
    assert model._session.inputs == {"input_ids", "token_type_ids", "pooling_mask"}
    assert model.encode("a cat").shape == (WIDTH,)


def test_a_prompt_is_put_before_and_left_out_of_pooling_where_the_model_says(make: Make) -> None:
    """In this graph no token sees another: what is left out is as if it were not there."""
    model, pooled = make(pools_prompt=False), make()
    text = ids_of(model, "a cat")
    whole = ids_of(model, "query : a cat")
    left_out = model.encode(["a cat"], prompt_name="query")
    np.testing.assert_allclose(left_out, expected([text[1:]], size_of(model)), atol=1e-5)
    np.testing.assert_allclose(
        pooled.encode(["a cat"], prompt_name="query"),
        expected([whole], size_of(model)),
        atol=1e-5,
    )


def test_the_prompt_is_chosen_as_sentence_transformers_does(make: Make) -> None:
    """A given one, one by name, the default one; a role has its own, or none."""
    model = make(default_prompt_name="query", prompts={"query": "query : ", "passage": "the "})
    by_hand = {p: model.encode("a cat", prompt=p) for p in ("query : ", "the ", "")}
    cases = [
        (model.encode("a cat"), "query : "),
        (model.encode("a cat", prompt_name="passage"), "the "),
        (model.encode("a cat", prompt_name="passage", prompt=""), ""),
        (model.encode_query("a cat"), "query : "),
        (model.encode_document("a cat"), "the "),
        (model.encode_query("a cat", prompt=""), ""),
    ]
    for found, prompt in cases:
        np.testing.assert_array_equal(found, by_hand[prompt])
    model.prompts = {}
    np.testing.assert_array_equal(model.encode_document("a cat"), by_hand[""])
    with pytest.raises(ValueError, match=r"Prompt name 'nobody' not found .* \['query'\]"):
        make(prompts={"query": "q"}).encode("a cat", prompt_name="nobody")


def test_cutting_comes_before_normalizing(make: Make) -> None:
    """As in sentence-transformers: what is returned has length 1."""
    model = make(truncate_dim=8)
    assert model.get_embedding_dimension() == model.get_sentence_embedding_dimension() == 8
    found = model.encode(["a cat"], truncate_dim=5, normalize_embeddings=True)
    assert found.shape == (1, 5)
    assert float(np.linalg.norm(found)) == pytest.approx(1, abs=1e-6)
    assert model.encode("a cat").shape == (8,)


def test_nothing_and_one_and_arrays_are_taken_as_sentence_transformers_does(make: Make) -> None:
    """A string gives one vector, no text gives shape (0,), and precisions are those of numpy."""
    model = make()
    assert model.encode([]).shape == (0,)
    assert model.encode(np.array(["a cat", "a dog"])).shape == (2, WIDTH)
    assert model.encode(("a cat",)).shape == (1, WIDTH)
    assert model.encode(sentences="a cat").shape == (WIDTH,)
    assert model.encode(["a cat"], precision="ubinary").shape == (1, WIDTH // 8)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"output_value": "token_embeddings"}, ValueError, "backend='torch'"),
        ({"output_value": None}, ValueError, "backend='torch'"),
        ({"pool": {}}, ValueError, "several processes"),
        ({"device": ["cpu", "cpu"]}, ValueError, "several processes"),
        ({"device": "cuda"}, ValueError, "on the CPU, not on 'cuda'"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
        ({"unknown": 1}, ValueError, "unknown"),
        ({"inputs": [b"a"]}, TypeError, "encodes texts"),
        ({"inputs": [["a", "b"]]}, TypeError, "encodes texts"),
    ],
    ids=str,
)
def test_what_only_torch_can_do_is_said(
    make: Make, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """One clear error, and nothing half done."""
    with pytest.raises(error, match=said):
        make().encode(**{"inputs": ["a cat"], **options})


def test_texts_that_would_depend_on_each_other_are_computed_alone(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In runs of one, whatever the batch size."""
    model = make(alone=True)
    sizes: list[int] = []
    real = model._session.run

    def run(arrays: Any) -> Any:
        sizes.append(len(arrays["input_ids"]))
        return real(arrays)

    monkeypatch.setattr(model._session, "run", run)
    model.encode(["a cat", "a dog", "a"], batch_size=32)
    assert sizes == [1, 1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_computes_with_a_session_of_its_own(tmp_path: Path) -> None:
    """Its parent's threads do not exist there: it would wait for them for ever."""
    model = OnnxModel(prepared(tmp_path / "m", max_seq_length=None), threads=2)
    texts = ["a cat " * 500] * 4
    mine = model.encode(texts)
    before = model._session._session
    receiving, sending = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if not pid:
        try:
            found = model.encode(texts)
            sending.send((model._session._session is before, found.tobytes()))
        finally:
            os._exit(0)
    sending.close()
    inherited, found = receiving.recv()
    os.waitpid(pid, 0)
    assert not inherited
    np.testing.assert_allclose(np.frombuffer(found, np.float32), mine.ravel(), atol=1e-5)


def test_a_folder_without_a_description_is_said_to_be_none(tmp_path: Path) -> None:
    """Not a KeyError from somewhere inside."""
    with pytest.raises(ValueError, match=r"has no readable embedcache\.json"):
        OnnxModel(tmp_path)
