"""`CachedModel` on a model without torch: what it answers itself, and what it hands through."""

from __future__ import annotations

import pickle
from typing import Any
from unittest import mock

import numpy as np
import pytest
from support.encoders import Files, PureBackend, World, right, world

from pytest_embedcache.errors import StoreError
from pytest_embedcache.models.registry import swap_default_registry
from pytest_embedcache.vectors.api import cached_model, swap_default_cache
from pytest_embedcache.vectors.memory import MemoryStore

TEXTS = ["a", "b"]


# ------------------------------------------------------------------------------ without a load


def test_facts_are_answered_without_a_load() -> None:
    """Dimension, prompts, similarity, length: from the files, and no model is loaded."""
    w = world(prompts={"query": "q: "}, default_prompt_name="query", truncate_dim=4)
    model = w.model()
    assert model.get_embedding_dimension() == 4
    assert model.get_sentence_embedding_dimension() == 4
    assert model.prompts["query"] == "q: "
    assert model.default_prompt_name == "query"
    assert model.truncate_dim == 4
    assert model.max_seq_length == 64
    assert model.similarity_fn_name == "cosine"
    assert len(model.fingerprint) == 64
    assert (model.name, model.spec.name, model.is_loaded) == ("m", "m", False)
    assert bool(model)
    assert model.eval() is model
    assert "m" in repr(model)
    assert w.backend.loads == []


def test_facts_of_a_loaded_model_are_its_own() -> None:
    """What was set on it is what it says, its dimension included."""
    w = world()
    w.model().truncate_dim = 3
    w.model().max_seq_length = 7
    assert w.model().get_embedding_dimension() == 3
    assert w.model().max_seq_length == 7
    assert len(w.model()) == 1


@pytest.mark.parametrize(
    "name", ["__wrapped__", "_repr_html_", "_ipython_canary_method_should_not_exist_", "__len_x__"]
)
def test_what_shells_and_copies_ask_for_loads_nothing(name: str) -> None:
    """To show a model in a notebook is no reason to load it."""
    w = world()
    assert not hasattr(w.model(), name)
    assert w.backend.loads == []


def test_to_ask_for_what_is_not_there_hands_nothing_out() -> None:
    """`hasattr` of a library that feels its way costs a load, and not the store."""
    w = world()
    assert not hasattr(w.model(), "embed_query")
    w.model().encode(TEXTS)
    assert w.model().encode(TEXTS).tobytes() == right(TEXTS)
    assert w.tally()["untrusted"] == 0


# ------------------------------------------------------------------------------ arguments


def test_arguments_have_the_places_they_have_in_sentence_transformers() -> None:
    """Inputs, prompt name and prompt by position, for all three; `sentences=` by name."""
    w = world(prompts={"query": "q: ", "sts": "s: "})
    model = w.model()
    assert model.encode(TEXTS, "sts").tobytes() == right(TEXTS, "s: ")
    assert model.encode(TEXTS, None, "x: ").tobytes() == right(TEXTS, "x: ")
    assert model.encode_query(TEXTS, "sts").tobytes() == right(TEXTS, "s: ")
    assert model.encode_document(TEXTS, None, "x: ").tobytes() == right(TEXTS, "x: ")
    assert model.encode_query(TEXTS, None, None, 7).tobytes() == right(TEXTS, "q: ")
    assert w.inner().options[-1]["batch_size"] == 7
    for encode in (model.encode, model.encode_query, model.encode_document):
        assert encode(sentences=TEXTS).shape == (2, 8)
        assert encode(inputs=TEXTS, sentences=["c"]).shape == (2, 8)
        with pytest.raises(TypeError, match="inputs"):
            encode()


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_that_is_none_is_an_error(batch_size: int) -> None:
    """Also where every vector is stored and there is no batch."""
    model = world().model()
    model.encode("a")
    with pytest.raises(ValueError, match="batch_size"):
        model.encode("a", batch_size=batch_size)


def test_a_precision_that_is_none_is_an_error() -> None:
    """And lists those there are."""
    with pytest.raises(ValueError, match="ubinary"):
        world().model().encode("a", precision="int4")


@pytest.mark.parametrize(
    "options",
    [
        {"output_value": "token_embeddings"},
        {"output_value": None},
        {"pool": object()},
        {"device": ["cpu", "cpu"]},
        {"image_size": 3},
        {"processing_kwargs": {"text": object()}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_cannot_be_stored_goes_straight_to_the_model(options: dict[str, Any]) -> None:
    """With the argument as it was given, and nothing is stored."""
    store = MemoryStore()
    w = world(store)
    w.model().encode(TEXTS, **options)
    assert store.stats().entries == 0
    [(name, value)] = options.items()
    assert w.inner().options[-1][name] is value
    assert w.tally()["bypassed"] == 2


def test_arguments_of_processing_are_part_of_the_key() -> None:
    """What they do to a vector is not known, so each has its own."""
    w = world()
    for _ in range(2):
        w.model().encode(TEXTS, processing_kwargs={"text": {"max_length": 5}})
        w.model().encode(TEXTS, processing_kwargs={"text": {"max_length": 6}})
        w.model().encode(TEXTS)
    assert w.tally()["computed"] == 6
    assert w.tally()["found"] == {"memory": 6}


@pytest.mark.parametrize("inputs", [None, 7, [("a", "b")], {"text": "a"}, ["a", 7]], ids=repr)
def test_what_is_no_text_is_the_models_to_judge(inputs: Any) -> None:
    """Its error is the caller's."""
    w = world()
    with pytest.raises((ValueError, TypeError)):
        w.model().encode(inputs)
    w.inner()
    assert w.backend.loads == ["m"]


# ------------------------------------------------------------------------------ stand-ins


def test_a_test_can_put_a_stand_in_for_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """`monkeypatch` and `mock.patch.object` work on it, and leave no trace."""
    w = world()
    model = w.model()
    with monkeypatch.context() as patch:
        patch.setattr(model, "encode", lambda *args, **kwargs: "fake")
        assert model.encode(TEXTS) == "fake"
        assert model.encode_query(TEXTS) == "fake"
    assert model.encode(TEXTS).tobytes() == right(TEXTS)
    with mock.patch.object(model, "encode", return_value="fake"):
        assert model.encode(TEXTS) == "fake"
    assert model.encode(TEXTS).tobytes() == right(TEXTS)
    assert w.tally()["untrusted"] == 0


def test_what_is_its_own_cannot_be_set() -> None:
    """A fingerprint is not an attribute of the model."""
    with pytest.raises(AttributeError):
        world().model().fingerprint = "0" * 64


# ------------------------------------------------------------------------------ pickles


@pytest.fixture
def default_world() -> Any:
    """A `World` that is this process's default one."""
    w = world()
    registry, cache = swap_default_registry(w.registry), swap_default_cache(w.cache)
    yield w
    swap_default_registry(registry)
    swap_default_cache(cache)


def test_a_pickle_comes_back_as_the_model_of_who_reads_it(default_world: World) -> None:
    """It holds which model it is: kilobytes, and nothing is loaded to write or to read it."""
    w = default_world
    model = cached_model(w.registry, w.cache, w.model().spec.replace(token="hf_secret"))
    content = pickle.dumps(model)
    assert b"secret" not in content
    assert len(content) < 1000
    back = pickle.loads(content)
    assert back is model
    assert back.encode(TEXTS).tobytes() == right(TEXTS)


@pytest.mark.parametrize(
    "change",
    [lambda model: model.unwrap(), lambda model: setattr(model, "max_seq_length", 5)],
    ids=["handed out", "state"],
)
def test_a_changed_model_cannot_be_pickled(change: Any) -> None:
    """What came back would silently be the model of the files."""
    model = world().model()
    change(model)
    with pytest.raises(TypeError, match="unwrap"):
        pickle.dumps(model)


# ------------------------------------------------------------------------------ forgetting


def test_invalidated_texts_are_computed_again_in_every_role() -> None:
    """And no other text; the result is how many vectors there were."""
    w = world(prompts={"query": "q: ", "document": "d: "})
    model = w.model()

    def ask() -> None:
        for encode in (model.encode, model.encode_query, model.encode_document):
            encode(["a", "b"])

    ask()
    assert model.invalidate(["a"]) == 3
    assert model.invalidate(["a"]) == 0
    before = w.tally()["computed"]
    ask()
    assert w.tally()["computed"] == before + 3


@pytest.mark.parametrize(
    "options",
    [
        {"normalize_embeddings": True},
        {"truncate_dim": 4},
        {"prompt": "x: "},
        {"processing_kwargs": {"text": {"max_length": 5}}},
    ],
)
def test_what_is_invalidated_is_what_the_same_arguments_stored(options: dict[str, Any]) -> None:
    """With other arguments it is another vector."""
    model = world().model()
    model.encode(["a"], **options)
    assert model.invalidate(["a"]) == 0
    assert model.invalidate(["a"], **options) == 1


@pytest.mark.parametrize("texts", ["a", ("a",), {"a"}, (t for t in "a"), np.array(["a"])])
def test_texts_to_forget_come_in_any_form(texts: Any) -> None:
    """One string, or any number of them, a generator too."""
    model = world().model()
    model.encode("a")
    assert model.invalidate(texts) == 1


def test_to_forget_what_is_no_text_is_an_error() -> None:
    """It would have forgotten nothing, and said nothing."""
    with pytest.raises(TypeError):
        world().model().invalidate([("a", "b")])


def test_a_cleared_model_forgets_its_vectors_and_no_others() -> None:
    """The result is how many there were."""
    w = World(PureBackend(m=Files(), n=Files(weights="other")))
    for name in "mn":
        w.model(name).encode(TEXTS)
    assert w.model("m").clear() == 2
    assert w.model("m").clear() == 0
    for name in "mn":
        w.model(name).encode(TEXTS)
    assert w.tally("m")["computed"] == 4
    assert w.tally("n")["computed"] == 2


def test_a_store_that_may_still_have_them_says_so() -> None:
    """Forgetting is a promise: a store that cannot keep it raises."""

    class Gone(MemoryStore):
        def delete_many(self, fingerprint: str, keys: Any) -> int:
            raise StoreError("test", "here", "it is gone", "Bring it back.")

        clear = delete_many  # type: ignore[assignment]

    model = world(Gone()).model()
    with pytest.raises(StoreError):
        model.invalidate(["a"])


def test_without_a_store_there_is_nothing_to_forget() -> None:
    """In live mode both are 0."""
    model = world(live=True).model()
    assert (model.invalidate(["a"]), model.clear()) == (0, 0)
