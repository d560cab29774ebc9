"""The fake of a `SentenceTransformer`: its vectors, its counts, its failures; no package needed."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toys import DEADLOCK, start

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.errors import UnresolvedBindingError
from pytest_embedcache.testing.fake_model import fake_vector
from pytest_embedcache.testing.fakes import (
    Call,
    FakeBackend,
    FakeSentenceTransformer,
    FakeSentenceTransformers,
)

MINILM = "all-MiniLM-L6-v2"
#: The first components of its vector of "a cat".
FIRST = [0.05189048, 0.02345463, 0.08381548, -0.05959588]


@pytest.fixture
def fakes() -> FakeSentenceTransformers:
    return FakeSentenceTransformers()


@pytest.fixture
def make(fakes: FakeSentenceTransformers) -> type[FakeSentenceTransformer]:
    """The class that code under test has."""
    return type("SentenceTransformer", (FakeSentenceTransformer,), {"fakes": fakes})


# ------------------------------------------------------------------------------ vectors


def test_a_vector_is_the_same_on_every_platform() -> None:
    """These are its first components, wherever it is computed."""
    found = fake_vector(MINILM, "a cat", 384)[:4]
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(FIRST, abs=1e-7)


@given(st.text(), st.text(), st.sampled_from([1, 8, 384]))
def test_vectors_are_of_unit_length_and_tell_texts_apart(one: str, two: str, size: int) -> None:
    """Also texts that differ in nothing but their normal form."""
    first, second = fake_vector("m", one, size), fake_vector("m", two, size)
    assert first.shape == (size,)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-6)
    if size > 1:
        assert (first.tobytes() == second.tobytes()) == (one == two)


def test_vectors_belong_to_their_model_and_dimension() -> None:
    """Neither is a part of another, so mixing them up shows."""
    assert not np.allclose(fake_vector("a", "x", 8), fake_vector("b", "x", 8))
    assert not np.allclose(fake_vector("a", "x", 8), fake_vector("a", "x", 16)[:8])


def test_texts_that_have_no_utf8_have_a_vector() -> None:
    """A lone surrogate."""
    assert fake_vector("m", "\ud800", 8).shape == (8,)


# ------------------------------------------------------------------------------ the model


@pytest.mark.parametrize(
    ("name", "dimension"),
    [
        (MINILM, 384),
        (f"sentence-transformers/{MINILM}", 384),
        ("all-mpnet-base-v2", 768),
        ("BAAI/bge-large-en-v1.5", 1024),
        ("intfloat/e5-base-v2", 768),
        ("never-heard-of", 384),
        ("mine", 10),
        ("sentence-transformers/mine", 10),
        ("org/other", 11),
    ],
)
def test_a_dimension_is_that_of_the_name(
    make: Any, fakes: FakeSentenceTransformers, name: str, dimension: int
) -> None:
    """Of the family, or as configured for the short or the full name."""
    fakes.dimensions |= {"mine": 10, "org/other": 11}
    model = make(name)
    assert model.get_embedding_dimension() == dimension
    assert model.get_sentence_embedding_dimension() == dimension
    assert model.encode(["a", "b"]).shape == (2, dimension)
    assert model.encode("a").shape == (dimension,)


def test_it_encodes_as_the_real_one_does(make: Any) -> None:
    """One text or many, in order; nothing for nothing; the older name of the argument."""
    model = make(MINILM)
    both = model.encode(["a", "b"])
    assert both.dtype == np.float32
    assert np.array_equal(model.encode("a"), both[0])
    assert np.array_equal(model.encode(sentences=["b"]), both[1:])
    assert np.array_equal(model.encode(np.array(["b", "a"])), both[::-1])
    assert model.encode([]).shape == (0,)
    for wrong in (None, 1, [1], [None]):
        with pytest.raises(ValueError, match="a fake encodes texts, not"):
            model.encode(wrong)


def test_prompts_are_put_before_texts(make: Any) -> None:
    """By name, as given, by role, or by default; an unknown name is refused with the known ones."""
    model = make("m", prompts={"query": "q: ", "sts": "s: "}, default_prompt_name="sts")
    plain = make("m")
    assert np.array_equal(model.encode("a"), plain.encode("s: a"))
    assert np.array_equal(model.encode("a", prompt_name="query"), plain.encode("q: a"))
    assert np.array_equal(model.encode("a", prompt="x "), plain.encode("x a"))
    assert np.array_equal(model.encode_query("a"), plain.encode("q: a"))
    assert np.array_equal(model.encode_document("a"), plain.encode("a"))
    with pytest.raises(ValueError, match="'nope' is not one of the model's: 'query', 'document'"):
        model.encode("a", prompt_name="nope")


def test_truncation_cuts_columns(make: Any) -> None:
    """Of the model, or of one call."""
    model = make(MINILM, truncate_dim=8)
    whole = make(MINILM).encode(["a"])
    assert np.array_equal(model.encode(["a"]), whole[:, :8])
    assert np.array_equal(model.encode(["a"], truncate_dim=4), whole[:, :4])
    assert model.get_embedding_dimension() == 8


def test_similarity_is_the_cosine(make: Any) -> None:
    """Between every two: 1 on the diagonal, little elsewhere."""
    model = make(MINILM)
    table = model.similarity(model.encode(["a", "b"]), model.encode(["a", "b", "c"]))
    assert table.shape == (2, 3)
    assert np.diag(table) == pytest.approx([1, 1], abs=1e-6)
    assert abs(table[0, 1]) < 0.3


def test_it_can_be_moved_and_switched(make: Any) -> None:
    """As code under test does with a model of torch."""
    model = make(MINILM, device="cuda:0", cache_folder="/somewhere")
    assert (model.device, model.eval(), model.to("cpu").device) == ("cuda:0", model, "cpu")
    assert model.options == {"cache_folder": "/somewhere"}
    assert model.get_max_seq_length() == model.max_seq_length == 256


# ------------------------------------------------------------------------------ the controls


def test_constructions_are_counted_by_name(make: Any, fakes: FakeSentenceTransformers) -> None:
    """Short and full name are one model."""
    make(MINILM)
    make(f"sentence-transformers/{MINILM}", device="cuda")
    make("org/other")
    assert fakes.load_count(MINILM) == fakes.load_count(f"sentence-transformers/{MINILM}") == 2
    assert (fakes.load_count("org/other"), fakes.load_count("other")) == (1, 0)
    assert fakes.load_count() == 3


def test_constructions_from_many_threads_are_all_counted(
    make: Any, fakes: FakeSentenceTransformers
) -> None:
    """32 at once."""
    barrier = threading.Barrier(32)

    def construct() -> None:
        barrier.wait(DEADLOCK)
        make(MINILM).encode(["a"])

    for future in [start(construct) for _ in range(32)]:
        future.result(DEADLOCK)
    assert (fakes.load_count(MINILM), len(fakes.calls)) == (32, 32)


def test_calls_are_recorded_in_order(make: Any, fakes: FakeSentenceTransformers) -> None:
    """With texts, options, and the prompt that was used."""
    model = make("m", prompts={"query": "q: "})
    model.encode("a", batch_size=8)
    model.encode_query(["b", "c"])
    assert fakes.calls == [
        Call("m", "encode", ("a",), {"batch_size": 8}),
        Call("m", "encode_query", ("b", "c"), {}, "q: "),
    ]


def test_a_load_can_be_slow(
    make: Any, fakes: FakeSentenceTransformers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By so many seconds; it is not by default."""
    slept: list[float] = []
    monkeypatch.setattr("pytest_embedcache.testing.fakes.time.sleep", slept.append)
    make(MINILM)
    fakes.load_delay = 1.5
    make(MINILM)
    assert slept == [1.5]


def test_failures_come_when_they_are_asked_for(make: Any, fakes: FakeSentenceTransformers) -> None:
    """The next loads, or calls, so many of them; a failed one is counted as well."""
    fakes.fail_next_load(OSError("no weights"), times=2)
    for _ in range(2):
        with pytest.raises(OSError, match="no weights"):
            make(MINILM)
    model = make(MINILM)
    assert fakes.load_count(MINILM) == 3

    fakes.fail_next_encode(MemoryError("too long"))
    with pytest.raises(MemoryError, match="too long"):
        model.encode_query(["a"])
    assert model.encode(["a"]).shape == (1, 384)
    assert [call.method for call in fakes.calls] == ["encode_query", "encode"]


def test_a_fake_that_outlives_its_test_says_so(make: Any, fakes: FakeSentenceTransformers) -> None:
    """In place of answering: by the name of the module that uses it."""
    model = make(MINILM)
    fakes.end()
    for use in (lambda: model.encode("a"), lambda: make(MINILM)):
        with pytest.raises(UnresolvedBindingError, match="kept a fake of a test that is over") as e:
            use()
        assert e.value.module == __name__


# ------------------------------------------------------------------------------ the backend


def test_a_registry_can_have_fakes(fakes: FakeSentenceTransformers, make: Any) -> None:
    """For tests that bring their own registry: one load, any name, nothing read from the disk."""
    backend = FakeBackend(make, fakes)
    registry = ModelRegistry(backends={"torch": backend, "fake": backend})
    model = registry.get(MINILM)
    assert registry.get(ModelSpec(f"sentence-transformers/{MINILM}", device="cpu")) is model
    assert registry.get("all-mpnet-base-v2").encode("a").shape == (768,)
    assert (fakes.load_count(MINILM), fakes.load_count()) == (1, 2)
    assert not registry.artifacts.directory.exists()


def test_a_fake_is_never_a_real_model(fakes: FakeSentenceTransformers, make: Any) -> None:
    """Neither its resolved spec nor its fingerprint is one that a real model has."""
    backend = FakeBackend(make, fakes)
    registry = ModelRegistry(backends={"torch": backend, "fake": backend})
    resolved = registry.resolve(MINILM)
    assert resolved.backend == "fake"
    fingerprint = registry.identify(ModelSpec(MINILM)).fingerprint
    fakes.dimensions[MINILM] = 7
    assert registry.identify(ModelSpec(MINILM)).fingerprint != fingerprint
