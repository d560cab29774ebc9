"""`FakeEmbeddingModel`: its vectors, its interface, what it notes."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toys import DEADLOCK, start

from pytest_embedcache.errors import FakeTextError
from pytest_embedcache.fingerprint import is_fake
from pytest_embedcache.testing.fake_model import FakeEmbeddingModel
from pytest_embedcache.testing.fake_vectors import KINDS, MAX_DIMENSION, fake_vectors
from pytest_embedcache.testing.fakes import FakeEmbeddingModels
from pytest_embedcache.testing.spy import Call, Spy

#: In several scripts, of any length, with and without words.
TEXTS = [
    "",
    " ",
    "a cat",
    "A cat",
    "two cats, and a kitten",
    "Ärger im Fußballstadion",
    "日本語の文章です",
    "привет мир",
    "مرحبا بالعالم",
    "👩‍👩‍👧 e\u0301 \x00 \ud800",
    "word " * 3000,
]
#: SHA-256 over the vectors of `TEXTS`, in all three roles, of 7, 384 and 1024 components.
GOLDEN = {
    "lexical": "78cb55ebe827de0fbfd7cf2c273430dee7c51cf8e44c135af9cfad795df1f076",
    "hash": "fbde2c1cfaf4a22eb01274f58734e500f0fe8e0f9edba34a365aa7579acc676b",
    "constant": "181196838879e9dcff04834c9399428fa67b2bf1f92470c8fb8620864664a764",
}
MADE = [kind for kind in KINDS if kind != "table"]


def cosine(model: FakeEmbeddingModel, one: str, other: str) -> float:
    first, second = model.encode([one, other])
    return float(first @ second)


# ------------------------------------------------------------------------------------ vectors


@pytest.mark.parametrize("kind", MADE)
def test_the_bits_are_the_same_everywhere(kind: str) -> None:
    """On every platform and Python, whatever numpy's BLAS and SIMD are."""
    digest = hashlib.sha256()
    for size in (7, 384, 1024):
        for role in (None, "query", "document"):
            rows = fake_vectors(kind, TEXTS, size, model="m", role=role)
            digest.update(rows.astype("<f4").tobytes())
    assert digest.hexdigest() == GOLDEN[kind]


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("size", [1, 2, 384, MAX_DIMENSION])
def test_vectors_are_float32_of_unit_length(kind: str, size: int) -> None:
    """Of any dimension, and for every text."""
    rows = FakeEmbeddingModel(kind=kind, dimension=size).encode(TEXTS)
    assert (rows.dtype, rows.shape) == (np.float32, (len(TEXTS), size))
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    assert lengths == pytest.approx(np.ones(len(TEXTS)), abs=1e-6)


@pytest.mark.parametrize("kind", MADE)
def test_a_vector_depends_on_nothing_but_its_text(kind: str) -> None:
    """Neither on its neighbours, nor on their order, nor on what was encoded before."""
    model = FakeEmbeddingModel(kind=kind)
    together = model.encode(TEXTS)
    assert np.array_equal(model.encode(TEXTS[::-1]), together[::-1])
    for text, row in zip(TEXTS, together, strict=True):
        assert FakeEmbeddingModel(kind=kind).encode(text).tobytes() == row.tobytes()


@given(st.text(), st.text())
def test_no_two_texts_have_one_vector(one: str, other: str) -> None:
    """Also where they differ in case, spaces or normal form alone."""
    for kind in ("lexical", "hash"):
        first, second = fake_vectors(kind, [one, other], 16)
        assert (first.tobytes() == second.tobytes()) == (one == other)


def test_similar_texts_are_similar() -> None:
    """By their words, and by the parts of them; words that are in every text count little."""
    model = FakeEmbeddingModel()
    assert cosine(model, "reset my password", "how do I reset the password?") > 0.7
    assert cosine(model, "a cat", "cats") > 0.3
    assert cosine(model, "The cat", "the CAT!") > 0.99
    assert abs(cosine(model, "the cat and the dog", "quarterly revenue")) < 0.2
    assert cosine(model, "it is of the who", "a cat that is of the king") < 0.5


def test_texts_of_other_kinds_have_no_meaning() -> None:
    """`hash`: directions are independent; `constant`: all are one."""
    rows = FakeEmbeddingModel(kind="hash").encode([f"the same words {n}" for n in range(40)])
    table = rows @ rows.T
    assert max(abs(table[i, j]) for i, j in combinations(range(40), 2)) < 0.3
    constant = FakeEmbeddingModel(kind="constant")
    assert len({row.tobytes() for row in constant.encode(TEXTS)}) == 1
    assert constant.encode_query("a").tobytes() == constant.encode("b").tobytes()


@pytest.mark.parametrize("kind", ["lexical", "hash"])
def test_models_and_dimensions_have_nothing_in_common(kind: str) -> None:
    """So that mixing them up shows."""
    texts = ["a cat", "a dog", "two dogs"]
    one, other = (fake_vectors(kind, texts, 384, model=name) for name in "ab")
    assert np.abs(np.einsum("ij,ij->i", one, other)).max() < 0.5
    assert not np.allclose(one[:, :8], fake_vectors(kind, texts, 8, model="a"))


@pytest.mark.parametrize("kind", ["lexical", "hash"])
def test_a_query_is_not_a_document(kind: str) -> None:
    """Three roles, three vectors; with `roles=False` one; lexical ones stay near each other."""
    model = FakeEmbeddingModel(kind=kind)
    rows = [model.encode_query("a cat"), model.encode_document("a cat"), model.encode("a cat")]
    assert len({row.tobytes() for row in rows}) == 3
    assert model.encode("a cat", task="query").tobytes() == rows[0].tobytes()
    if kind == "lexical":
        assert float(rows[0] @ rows[1]) > 0.9
    plain = FakeEmbeddingModel(kind=kind, roles=False)
    assert plain.encode_query("a cat").tobytes() == plain.encode("a cat").tobytes()
    assert plain.encode("a cat").tobytes() == rows[2].tobytes()


def test_a_table_has_the_vectors_that_a_test_gives() -> None:
    """For a text, or for a text in a role; one that is missing is an error with the nearest."""
    table = {"a cat": [1, 0], ("query", "a cat"): [0.6, 0.8], "revenue": [0, 2]}
    model = FakeEmbeddingModel(kind="table", table=table)
    assert model.get_embedding_dimension() == 2
    assert model.encode(["revenue", "a cat"]).tolist() == [[0, 2], [1, 0]]
    assert model.encode_query("a cat").tolist() == pytest.approx([0.6, 0.8])
    assert model.encode_document("a cat").tolist() == [1, 0]
    with pytest.raises(FakeTextError, match=r"'a cart' has no vector .* nearest .* 'a cat'") as e:
        model.encode(["a cat", "a cart"])
    assert e.value.text == "a cart"


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "random"},
        {"kind": "table"},
        {"table": {"a": [1]}},
        {"kind": "table", "table": {"a": [1, 0], "b": [1]}},
        {"kind": "table", "table": {"a": [1, 0]}, "dimension": 3},
        {"kind": "table", "table": {"a": 1.0}},
        {"kind": "table", "table": {}},
        {"dimension": 0},
        {"dimension": MAX_DIMENSION + 1},
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused_when_it_is_made(options: dict[str, Any]) -> None:
    """Not at the first text."""
    with pytest.raises(ValueError, match=r"cannot be used|table"):
        FakeEmbeddingModel(**options)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", 384),
        ("all-mpnet-base-v2", 768),
        ("BAAI/bge-large-en-v1.5", 1024),
        ("text-embedding-3-small", 1536),
        ("never-heard-of", 384),
    ],
)
def test_known_names_have_their_dimension(name: str, size: int) -> None:
    """And any other the one that is given."""
    assert FakeEmbeddingModel(name).encode("a").shape == (size,)
    assert FakeEmbeddingModel(name, dimension=10).encode("a").shape == (10,)


# ---------------------------------------------------------------------------------- interface


def test_it_takes_and_returns_what_a_model_does() -> None:
    """Lists, tuples, arrays, one text; nothing for nothing; the older name of the argument."""
    model = FakeEmbeddingModel()
    both = model.encode(["a", "b"])
    for inputs in (("a", "b"), np.array(["a", "b"])):
        assert np.array_equal(model.encode(inputs), both)
    assert np.array_equal(model.encode(sentences=["a", "b"]), both)
    assert np.array_equal(model.encode(["a", "b"], None, None, 1), both)
    assert model.encode("a").shape == (384,)
    assert model.encode([]).shape == (0,)
    for wrong in (None, 1, [1], ["a", None], b"a", {"a"}):
        with pytest.raises(ValueError, match="a fake encodes texts, not"):
            model.encode(wrong)
    with pytest.raises(ValueError, match="has no tokens"):
        model.encode("a", output_value="token_embeddings")
    with pytest.raises(ValueError, match="'int4' is not one of"):
        model.encode("a", precision="int4")


def test_what_is_returned_is_the_callers() -> None:
    """Writing into it changes nothing, also where all vectors are one."""
    for kind in MADE:
        model = FakeEmbeddingModel(kind=kind)
        first = model.encode(["a", "a"])
        before = first[1].copy()
        first[0] = 7
        assert np.array_equal(first[1], before)
        assert np.array_equal(model.encode("a"), before)


def test_options_of_a_call_hold() -> None:
    """Prompts, cutting, normalising, precision: as a model's do."""
    model = FakeEmbeddingModel(prompts={"query": "q: ", "sts": "s: "}, default_prompt_name="sts")
    plain = FakeEmbeddingModel()
    assert np.array_equal(model.encode("a"), plain.encode("s: a"))
    assert np.array_equal(model.encode("a", "query"), plain.encode("q: a"))
    assert np.array_equal(model.encode("a", prompt="x "), plain.encode("x a"))
    assert np.array_equal(model.encode_query("a"), plain.encode("q: a", task="query"))
    assert np.array_equal(model.encode_document("a"), plain.encode_document("a"))
    with pytest.raises(ValueError, match="prompt name 'nope' is not one of the model's"):
        model.encode("a", prompt_name="nope")

    whole = plain.encode(["a", "b"])
    cut = plain.encode(["a", "b"], truncate_dim=8)
    assert np.array_equal(cut, whole[:, :8])
    unit = plain.encode(["a", "b"], truncate_dim=8, normalize_embeddings=True)
    assert np.linalg.norm(unit, axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert np.abs(unit / cut - (unit / cut)[:, :1]).max() < 1e-4
    with plain.truncate_embeddings(5):
        assert plain.encode("a").shape == (5,)
        assert plain.get_embedding_dimension() == 5
    assert plain.get_embedding_dimension() == 384
    packed = plain.encode(["a", "b"], precision="ubinary")
    assert np.array_equal(packed, np.packbits(whole > 0, axis=-1))


def test_sync_and_async_agree() -> None:
    """In all three roles."""
    model = FakeEmbeddingModel()

    async def ask() -> list[np.ndarray]:
        calls = (model.aencode, model.aencode_query, model.aencode_document)
        return await asyncio.gather(*(call(["a", "b"]) for call in calls))

    expected = [call(["a", "b"]) for call in (model.encode, model.encode_query)]
    expected.append(model.encode_document(["a", "b"]))
    for found, right in zip(asyncio.run(ask()), expected, strict=True):
        assert np.array_equal(found, right)


def test_a_fingerprint_is_of_what_decides_the_vectors() -> None:
    """Name, kind, dimension, roles and table; and it is that of a fake."""
    models = [
        FakeEmbeddingModel(),
        FakeEmbeddingModel("other"),
        FakeEmbeddingModel(kind="hash"),
        FakeEmbeddingModel(dimension=5),
        FakeEmbeddingModel(roles=False),
        FakeEmbeddingModel(kind="table", table={"a": [1, 0]}),
        FakeEmbeddingModel(kind="table", table={"a": [0, 1]}),
        FakeEmbeddingModel(kind="table", table={"b": [1, 0]}),
    ]
    found = [model.fingerprint for model in models]
    assert len(set(found)) == len(models)
    assert all(is_fake(one) and len(one) == 64 for one in found)
    again = FakeEmbeddingModel("sentence-transformers/all-MiniLM-L6-v2", device="cuda")
    assert again.fingerprint == found[0]


# ---------------------------------------------------------------------------------------- spy


def test_it_notes_every_call() -> None:
    """Texts, sizes, options, prompts and roles, in order; also a call that fails."""
    model = FakeEmbeddingModel("m", prompts={"query": "q: "})
    model.encode("a", batch_size=8)
    model.encode_query(["b", "c"])
    model.faults.fail(OSError("away"))
    with pytest.raises(OSError, match="away"):
        model.encode_document(["d"])
    assert model.calls == [
        Call("m", "encode", ("a",), {"batch_size": 8}),
        Call("m", "encode_query", ("b", "c"), {}, "q: ", "query"),
        Call("m", "encode_document", ("d",), {}, "", "document"),
    ]
    assert model.texts == ["a", "b", "c", "d"]
    assert model.batch_sizes == [1, 2, 1]
    assert model.load_count("m") == model.load_count() == 1


def test_several_can_share_a_spy() -> None:
    """Loads are counted by name, calls of all are in one list; a load can fail."""
    make = FakeEmbeddingModels(dimensions={"mine": 3})
    one, other = make("sentence-transformers/mine"), make(kind="hash")
    assert (one.encode("a").shape, other.encode("b").shape) == ((3,), (384,))
    assert make("x", kind="table", table={"a": [1, 2]}).encode("a").tolist() == [1, 2]
    assert make.load_count("mine") == 1
    assert (make.load_count(), make.texts) == (3, ["a", "b", "a"])
    make.loading.fail(OSError("no weights"))
    with pytest.raises(OSError, match="no weights"):
        make()
    assert make.load_count() == 4


def test_a_thousand_threads_calls_are_all_noted() -> None:
    """32 threads at once lose none."""
    spy = Spy()
    barrier = threading.Barrier(32)

    def work() -> None:
        barrier.wait(DEADLOCK)
        FakeEmbeddingModel(spy=spy, kind="constant", dimension=2).encode(["a"])

    for future in [start(work) for _ in range(32)]:
        future.result(DEADLOCK)
    assert (spy.load_count(), len(spy.calls)) == (32, 32)


def test_it_needs_neither_torch_nor_a_store() -> None:
    """Fakes are made and used in a process that has imported neither."""
    import subprocess

    code = (
        "from pytest_embedcache.testing.fakes import FakeEmbeddingModel\n"
        "import sys; before = 'numpy' in sys.modules\n"
        "FakeEmbeddingModel().encode(['a'])\n"
        "print(before, 'torch' in sys.modules, 'sqlite3' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False", "False"]
