"""The stand-in beside the real `SentenceTransformer`: same answers, nothing shared that changes."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.own_defaults import own_defaults

from pytest_embedcache import default_registry, notices
from pytest_embedcache.dropin.asked import views_are_exact
from pytest_embedcache.dropin.sentence_transformers import SentenceTransformers
from pytest_embedcache.dropin.switch import Switch
from pytest_embedcache.dropin.view import View
from pytest_embedcache.vectors.api import default_cache

sentence_transformers = pytest.importorskip("sentence_transformers")
torch = pytest.importorskip("torch")

TEXTS = ["a cat", "a kitten 12", "a dog cat revenue", ""]
needs_views = pytest.mark.skipif(not views_are_exact(), reason="falls through before version 6")


@pytest.fixture
def ours() -> Iterator[Any]:
    """The class that a suite gets, with the drop-in."""
    library = SentenceTransformers()
    switch = Switch([library])
    switch.install()
    switch.started = True
    with own_defaults():
        yield sentence_transformers.SentenceTransformer
    switch.remove()
    assert sentence_transformers.SentenceTransformer is not library.stand_in


@pytest.fixture
def path(tiny: Path) -> str:
    """A model with prompts."""
    saved = {"prompts": {"query": "cat ", "document": "dog "}}
    (tiny / "config_sentence_transformers.json").write_text(json.dumps(saved))
    return str(tiny)


def real(ours: Any, *args: Any, **kwargs: Any) -> Any:
    """A real model of the same arguments."""
    return ours.__embedcache_real__(*args, device="cpu", **kwargs)


def is_lazy(model: Any) -> bool:
    """Whether it is no real model."""
    return type(model) is sentence_transformers.SentenceTransformer


def loads() -> int:
    """Of the registry."""
    return sum(model.loads for model in default_registry().stats().models)


def same(one: Any, other: Any) -> None:
    """To the tolerance of another batch."""
    assert type(one) is type(other)
    one, other = np.asarray(one), np.asarray(other)
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tensor": {"convert_to_tensor": True},
    "normalized": {"normalize_embeddings": True},
    "a prompt": {"prompt": "revenue "},
    "a prompt's name": {"prompt_name": "query"},
    "binary": {"precision": "binary"},
}
#: What a constructor is given; the stand-in has a view of the one loaded model for each.
VIEWS: dict[str, dict[str, Any]] = {
    "none": {},
    "prompts": {"prompts": {"query": "revenue ", "own": "kitten "}},
    "no prompts": {"prompts": {"query": "", "document": ""}},
    "default": {"default_prompt_name": "document"},
    "cut": {"truncate_dim": 5},
    "all": {"prompts": {"own": "12 "}, "default_prompt_name": "own", "truncate_dim": 7},
}


@needs_views
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_gives_the_real_vectors(ours: Any, path: str, view: str) -> None:
    """Cold and warm, with what a call says besides, in every role; all on one loaded model."""
    truth = real(ours, path, **VIEWS[view])
    for _ in ("cold", "warm"):
        model = ours(path, device="cpu", **VIEWS[view])
        for options in CALLS.values():
            same(model.encode(TEXTS, **options), truth.encode(TEXTS, **options))
        same(model.encode("a cat"), truth.encode("a cat"))
        same(model.encode_query(TEXTS), truth.encode_query(TEXTS))
        same(model.encode_document(TEXTS), truth.encode_document(TEXTS))
        assert model.prompts == truth.prompts
        assert model.default_prompt_name == truth.default_prompt_name
        assert model.get_embedding_dimension() == truth.get_embedding_dimension()
        assert model.max_seq_length == truth.max_seq_length
        assert is_lazy(model)
    assert loads() == 1


@needs_views
def test_views_are_keyed_apart(ours: Any, path: str) -> None:
    """No vector of one is found by another, where they differ."""
    vectors = []
    for view in ("none", "default", "cut", "all"):
        vectors.append(ours(path, device="cpu", **VIEWS[view]).encode("a cat"))
    tallies = next(iter(default_cache().tallies.as_dict().values()))
    assert tallies["computed"] == 4
    assert len({vector.tobytes() for vector in vectors}) == 4


@needs_views
def test_a_view_can_be_changed(ours: Any, path: str) -> None:
    """Prompts in place, the default, the cut and its block, the similarity: no model of its own."""
    truth, model, other = real(ours, path), ours(path, device="cpu"), ours(path, device="cpu")
    for each in (truth, model):
        each.prompts["query"] = "kitten "
        each.default_prompt_name = "document"
        each.truncate_dim = 9
        each.similarity_fn_name = "euclidean"
    same(model.encode(TEXTS), truth.encode(TEXTS))
    same(model.encode_query(TEXTS), truth.encode_query(TEXTS))
    with model.truncate_embeddings(3), truth.truncate_embeddings(3):
        same(model.encode(TEXTS), truth.encode(TEXTS))
    rows = truth.encode(TEXTS)
    same(model.similarity(rows, rows), truth.similarity(rows, rows))
    same(model.similarity_pairwise(rows, rows), truth.similarity_pairwise(rows, rows))
    assert is_lazy(model)
    assert other.prompts["query"] == "cat "
    assert other.encode("a cat").shape == (16,)


def test_a_dtype_is_part_of_the_model(ours: Any, path: str) -> None:
    """As the only option of the model it goes through the store; others do not."""
    options = {"model_kwargs": {"torch_dtype": torch.bfloat16}}
    same(
        ours(path, device="cpu", **options).encode(TEXTS, convert_to_tensor=True).float(),
        real(ours, path, **options).encode(TEXTS, convert_to_tensor=True).float(),
    )
    eager = ours(path, device="cpu", model_kwargs={"attn_implementation": "eager"})
    assert not is_lazy(eager)
    same(eager.encode(TEXTS), real(ours, path).encode(TEXTS))


def test_wrong_calls_are_wrong_as_with_the_real_class(ours: Any, path: str) -> None:
    """Its own errors."""
    for arguments in (
        {"default_prompt_name": "nothing"},
        {"similarity_fn_name": "nothing"},
        {"what": 1},
        {"truncate_dim": 4, "backend": "nothing"},
    ):
        with pytest.raises((ValueError, TypeError)) as theirs:
            real(ours, path, **arguments)
        with pytest.raises(theirs.type):
            ours(path, device="cpu", **arguments)
    model = ours(path, device="cpu")
    with pytest.raises(ValueError, match="nothing"):
        model.encode("a cat", prompt_name="nothing")
    with pytest.raises(TypeError):
        model.encode()


def test_it_is_an_instance_of_all_that_the_real_one_is(ours: Any, path: str) -> None:
    """Of both classes, of torch's modules, and of an annotation."""
    model = ours(path)
    inside = sentence_transformers.sentence_transformer if views_are_exact() else None
    assert isinstance(model, (ours, torch.nn.Module))
    assert isinstance(model, ours | None)
    assert not isinstance(model, (str, torch.Tensor))
    if inside is not None:
        assert isinstance(model, inside.SentenceTransformer)
    assert isinstance(real(ours, path), ours)
    assert is_lazy(model)


def test_it_is_a_part_of_a_bigger_model(ours: Any, path: str) -> None:
    """A classifier on top of it has its parameters, and can train them; nobody else sees that."""

    class Classifier(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = ours(path, device="cpu")
            self.head = torch.nn.Linear(16, 1)

    before = ours(path, device="cpu").encode(TEXTS)
    whole = Classifier()
    assert len(list(whole.parameters())) == len(list(real(ours, path).parameters())) + 2
    optimizer = torch.optim.SGD(whole.parameters(), lr=1.0)
    features = whole.encoder.tokenize(TEXTS)
    whole.head(whole.encoder(dict(features))["sentence_embedding"]).sum().backward()
    optimizer.step()
    assert not is_lazy(whole.encoder)
    assert not np.allclose(whole.encoder.encode(TEXTS), before, atol=1e-3)
    np.testing.assert_array_equal(ours(path, device="cpu").encode(TEXTS), before)
    computed = next(iter(default_cache().tallies.as_dict().values()))["computed"]
    assert computed == len(TEXTS)


CHANGES: dict[str, Any] = {
    "half": lambda model: model.half().float(),
    "length": lambda model: setattr(model, "max_seq_length", 3),
    "weights": lambda model: next(model.parameters()).data.zero_(),
    "module": lambda model: model[0].auto_model.embeddings.word_embeddings.weight.data.fill_(0.5),
    "pop": lambda model: model.pop(2) if hasattr(model, "pop") else model[0],
    "train": lambda model: model.train(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_one_instance_own(ours: Any, path: str, change: str) -> None:
    """It has the effect that it has on a real one, and none on any other or on the store."""
    truth, model, early = real(ours, path), ours(path, device="cpu"), ours(path, device="cpu")
    before = early.encode(TEXTS)
    became = ours(path, device="cpu")
    assert len(became) == 3
    CHANGES[change](truth)
    CHANGES[change](model)
    assert not is_lazy(model)
    truth.eval(), model.eval()
    same(model.encode(TEXTS), truth.encode(TEXTS))
    for other in (early, ours(path, device="cpu"), copy.deepcopy(early)):
        np.testing.assert_array_equal(other.encode(TEXTS), before)
    same(became.encode(TEXTS), before)
    assert any("became a real one" in notice for notice in notices.counts())
    assert model.model_card_data.model is model if hasattr(model, "model_card_data") else True


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_is_another_of_the_same(ours: Any, path: str, again: Any) -> None:
    """With what was changed on its view; a pickle has the name, no weights and no token."""
    model = ours(path, device="cpu", token="secret")
    model.prompts = {**model.prompts, "query": "dog "}
    made = again(model)
    assert made is not model
    assert is_lazy(made)
    np.testing.assert_array_equal(made.encode_query("a cat"), model.encode_query("a cat"))
    model.default_prompt_name = "document"
    assert made.default_prompt_name is None
    assert b"secret" not in pickle.dumps(model)
    assert len(pickle.dumps(model)) < 1000
    assert pickle.loads(pickle.dumps(ours)) is ours


def test_a_real_one_is_pickled_whole(ours: Any, path: str) -> None:
    """What was changed goes with it."""
    model = ours(path, device="cpu")
    next(model.parameters()).data.zero_()
    made = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(made.encode(TEXTS), model.encode(TEXTS))


def test_what_changes_nothing_stays_in_the_store(ours: Any, path: str) -> None:
    """Devices that it has, modes that it is in, the length that it has, reading."""
    model = ours(path)
    assert model.to("cpu") is model.cpu() is model.eval() is model.train(False) is model
    assert model.to(device=torch.device("cpu")) is model
    assert model.device == torch.device("cpu")
    assert isinstance(ours(path).device, torch.device)
    model.max_seq_length = model.max_seq_length
    assert model.tokenize(["a cat"])["input_ids"].shape[0] == 1
    assert model.dtype == torch.float32 if hasattr(real(ours, path), "dtype") else True
    assert model
    assert is_lazy(model)
    assert not is_lazy(model.to(torch.float64))


def test_it_becomes_real_whole_in_threads(ours: Any, path: str) -> None:
    """Some encode, some ask for what only a real model has, at once: all get the right thing."""
    right = real(ours, path).encode(TEXTS)
    model = ours(path, device="cpu")
    start = threading.Barrier(6)
    found: list[Any] = []

    def use(number: int) -> None:
        start.wait()
        try:
            for _ in range(3):
                if number % 2:
                    found.append(len(list(model.parameters())) > 0 and len(model) == 3)
                else:
                    np.testing.assert_allclose(model.encode(TEXTS), right, rtol=0, atol=2e-6)
                    found.append(True)
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [True] * 18
    assert loads() == 1


def test_others_use_the_stand_in_until_it_is_whole(
    ours: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of its becoming real, another thread encodes as before."""
    right = real(ours, path).encode(TEXTS)
    model = ours(path, device="cpu")
    found: list[Any] = []

    def in_the_middle(view: View) -> dict[str, Any]:
        thread = threading.Thread(target=lambda: found.append(model.encode(TEXTS)))
        thread.start()
        thread.join(60)
        return {}

    monkeypatch.setattr(View, "changes", property(in_the_middle))
    assert len(model) == 3
    same(found[0], right)
    assert not is_lazy(model)


def test_methods_that_a_test_replaces_are_replaced(
    ours: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an instance and on the class; afterwards they are back."""
    model = ours(path, device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(model, "encode", lambda texts: "of the instance")
        assert model.encode(TEXTS) == "of the instance"
    with monkeypatch.context() as patch:
        patch.setattr(ours, "encode", lambda self, texts: "of the class")
        assert ours(path, device="cpu").encode(TEXTS) == "of the class"
    assert model.encode(TEXTS).shape == (4, 16)
    assert is_lazy(model)
    assert len(list(model.parameters())) > 0
    assert model.encode(TEXTS).shape == (4, 16)


def test_an_evaluator_is_answered_by_it(ours: Any, path: str) -> None:
    """Of the library's own, which asks the model for vectors and a name."""
    evaluation = pytest.importorskip("sentence_transformers.evaluation")
    evaluator = evaluation.EmbeddingSimilarityEvaluator(
        TEXTS[:3], TEXTS[1:], [0.1, 0.5, 0.9], write_csv=False
    )
    same_scores = evaluator(ours(path, device="cpu")), evaluator(real(ours, path))
    assert same_scores[0] == pytest.approx(same_scores[1], abs=1e-5)
