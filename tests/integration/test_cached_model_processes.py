"""What is done to a model in one process, read from another: a right vector, or none.

The other process cannot import torch, so that it only ever has what is stored.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.children import python
from support.models import MINILM, add_to_hub_cache
from support.own_defaults import own_defaults
from support.variants import PROMPTS

from pytest_embedcache import ModelRegistry, get_model
from pytest_embedcache.models.registry import default_registry
from pytest_embedcache.vectors.api import default_cache
from pytest_embedcache.vectors.cached_model import CachedModel

torch = pytest.importorskip("torch", reason="needs torch")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="needs sentence-transformers"
)

KNOWN = ["a cat", "a dog sits on a mat and a cat sits beside it"]
NEW = ["a kitten", "revenue " * 9]

READ = """
import json, sys
sys.modules["torch"] = sys.modules["sentence_transformers"] = None
from pytest_embedcache import get_model
from pytest_embedcache.errors import MissingExtraError
model = get_model(sys.argv[1])
found = {}
for text in json.loads(sys.argv[2]):
    for role in ("", "_query"):
        try:
            found[role + text] = getattr(model, "encode" + role)(text).tobytes().hex()
        except MissingExtraError:
            pass
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def _own_defaults() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with own_defaults():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def path(tiny: Path) -> Path:
    """A model with prompts that the test may change."""
    config = {"prompts": PROMPTS, "similarity_fn_name": "cosine"}
    (tiny / "config_sentence_transformers.json").write_text(json.dumps(config))
    return tiny


def read_elsewhere(name: object, texts: list[str]) -> dict[str, np.ndarray]:
    """The vectors that another process finds; a query's has `_query` before its text."""
    found = json.loads(python(READ, str(name), json.dumps(texts)))
    return {text: np.frombuffer(bytes.fromhex(raw), np.float32) for text, raw in found.items()}


def truth(path: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """The right vectors, of a plain model of these files."""
    plain = sentence_transformers.SentenceTransformer(str(path), device="cpu")
    plain_vectors = dict(zip(texts, plain.encode(texts), strict=True))
    queries = plain.encode(texts, prompt_name="query")
    return plain_vectors | {f"_query{t}": v for t, v in zip(texts, queries, strict=True)}


def check(found: dict[str, np.ndarray], right: dict[str, np.ndarray], texts: list[str]) -> None:
    """Assert that nothing is wrong, and that `texts` are there."""
    for text, vector in found.items():
        np.testing.assert_allclose(vector, right[text], rtol=0, atol=1e-6, err_msg=text)
    assert set(found) >= {f"{role}{text}" for text in texts for role in ("", "_query")}


# ------------------------------------------------------------------------------ changes


def change_weights(model: CachedModel) -> None:
    with torch.no_grad():
        next(model[0].auto_model.parameters()).add_(1.0)


def change_weights_through_parameters(model: CachedModel) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)


def halve(model: CachedModel) -> None:
    model.half()


def load_state(model: CachedModel) -> None:
    model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()})


def replace_tokenizer(model: CachedModel) -> None:
    model.tokenizer.add_tokens(["kitten", "revenue"])
    model[0].auto_model.resize_token_embeddings(len(model.tokenizer))


def change_length(model: CachedModel) -> None:
    model.max_seq_length = 4


def change_prompts(model: CachedModel) -> None:
    model.prompts["query"] = "revenue "


def change_default_prompt(model: CachedModel) -> None:
    model.default_prompt_name = "sts"


def change_dimension(model: CachedModel) -> None:
    model.truncate_dim = 5


def unwrap(model: CachedModel) -> None:
    change_weights(model.unwrap())


def change_a_copy(model: CachedModel) -> None:
    change_weights(model.unwrap(copy=True))


def change_a_deep_copy(model: CachedModel) -> None:
    change_weights(copy.deepcopy(model))


def set_a_module(model: CachedModel) -> None:
    model.pooling = torch.nn.Identity()
    model[1].forward = lambda features: (
        features | {"sentence_embedding": features["token_embeddings"][:, -1]}
    )


def add_an_adapter(model: CachedModel) -> None:
    """As peft does, seen from transformers' side, but on the bare model."""
    inner = model._source.load().model[0].auto_model
    inner._hf_peft_config_loaded = True
    inner.active_adapters = lambda: ["mine"]
    with torch.no_grad():
        next(inner.parameters()).add_(1.0)


CHANGES = [
    change_weights,
    change_weights_through_parameters,
    halve,
    load_state,
    replace_tokenizer,
    change_length,
    change_prompts,
    change_default_prompt,
    change_dimension,
    unwrap,
    change_a_copy,
    change_a_deep_copy,
    set_a_module,
    add_an_adapter,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_one_process_is_no_vector_of_another(
    change: Callable[[CachedModel], None], path: Path
) -> None:
    """What was stored before stays right; of what was computed after, nothing wrong is found."""
    right = truth(path, KNOWN + NEW)
    model = get_model(path)
    for encode in (model.encode, model.encode_query):
        encode(KNOWN)
    change(model)
    for encode in (model.encode, model.encode_query):
        encode(KNOWN + NEW)
    check(read_elsewhere(path, KNOWN + NEW), right, KNOWN)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_gives_the_vectors_of_what_it_is_now(
    change: Callable[[CachedModel], None], path: Path
) -> None:
    """Never those that were stored before: each call equals the bare model's."""
    model = get_model(path)
    model.encode(KNOWN)
    change(model)
    inner = model._source.load().model
    for _ in range(2):
        expected = inner.encode(KNOWN + NEW)
        found = model.encode(KNOWN + NEW)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 if change is halve else 1e-6)


# ------------------------------------------------------------------------------ files


def test_other_weights_under_one_path_are_another_model(
    path: Path, make_tiny: Callable[..., Path]
) -> None:
    """Both models' vectors are right, before the swap, after it, and after it is undone."""
    other = make_tiny("other", seed=7)
    first = truth(path, KNOWN)
    get_model(path).encode(KNOWN)
    get_model(path).encode_query(KNOWN)
    shutil.copy(path / "model.safetensors", path / "old")
    shutil.copy(other / "model.safetensors", path / "model.safetensors")
    assert read_elsewhere(path, KNOWN) == {}
    second = truth(path, KNOWN)
    default_registry().clear()
    get_model(path).encode(KNOWN)
    get_model(path).encode_query(KNOWN)
    check(read_elsewhere(path, KNOWN), second, KNOWN)
    (path / "old").replace(path / "model.safetensors")
    check(read_elsewhere(path, KNOWN), first, KNOWN)


def test_a_branch_that_moved_leads_to_another_model(
    path: Path, make_tiny: Callable[..., Path], hub_cache: Path
) -> None:
    """What a name means is what `refs/main` says; the commits' vectors are kept apart."""
    commits = ("1" * 40, "2" * 40)
    add_to_hub_cache(hub_cache, "org/tiny", path, commit=commits[0])
    first = truth(path, KNOWN)
    get_model("org/tiny").encode(KNOWN)
    get_model("org/tiny").encode_query(KNOWN)
    other = make_tiny("other", seed=7)
    shutil.copy(path / "config_sentence_transformers.json", other)
    add_to_hub_cache(hub_cache, "org/tiny", other, commit=commits[1])
    assert read_elsewhere("org/tiny", KNOWN) == {}
    get_model("org/tiny").encode(KNOWN)  # this process has its model for life
    assert read_elsewhere("org/tiny", KNOWN) == {}
    default_registry().evict("org/tiny")
    get_model("org/tiny").encode(KNOWN)
    get_model("org/tiny").encode_query(KNOWN)
    check(read_elsewhere("org/tiny", KNOWN), truth(other, KNOWN), KNOWN)
    (hub_cache / "models--org--tiny" / "refs" / "main").write_text(commits[0])
    check(read_elsewhere("org/tiny", KNOWN), first, KNOWN)


def test_files_that_are_gone_leave_their_vectors(path: Path, hub_cache: Path) -> None:
    """A process with the store alone, and without the model's files, has them."""
    snapshot = add_to_hub_cache(hub_cache, "org/tiny", path)
    right = truth(path, KNOWN)
    get_model("org/tiny").encode(KNOWN)
    get_model("org/tiny").encode_query(KNOWN)
    shutil.rmtree(snapshot)
    check(read_elsewhere("org/tiny", KNOWN), right, KNOWN)


# ------------------------------------------------------------------------------ warm


WARM = """
import sys
from pytest_embedcache import get_model
model = get_model(sys.argv[1])
model.encode("a cat"); model.encode(["a cat", "a dog"]); model.encode_query(["a cat"])
model.encode(["a cat", "a dog"], precision="binary")
model.get_embedding_dimension(), model.prompts, model.default_prompt_name, model.max_seq_length
model.similarity_fn_name, model.truncate_dim, model.is_loaded, model.eval(), repr(model)
heavy = ("torch", "transformers", "sentence_transformers", "huggingface_hub", "tokenizers",
         "safetensors", "pandas", "sklearn", "asyncio", "tqdm")
print([name for name in heavy if name in sys.modules], model.is_loaded)
"""


def test_a_process_that_finds_everything_imports_nothing_heavy(minilm: Path) -> None:
    """Vectors, dimension, prompts: neither torch nor its company, and no loop of asyncio."""
    model = get_model(str(minilm))
    model.encode(["a cat", "a dog"])
    model.encode_query(["a cat"])
    if not hasattr(sentence_transformers.SentenceTransformer, "encode_query"):
        pytest.skip("before version 5 the binary precision is the installed version's")
    assert python(WARM, str(minilm)) == "[] False"


def test_the_published_name_and_its_directory_share_their_vectors(
    minilm: Path, minilm_in_hub_cache: Path
) -> None:
    """One content is one model, whatever it is called."""
    get_model(str(minilm)).encode(KNOWN)
    get_model(str(minilm)).encode_query(KNOWN)
    for name in ("all-MiniLM-L6-v2", MINILM, minilm_in_hub_cache):
        assert len(read_elsewhere(name, KNOWN)) == 4


def test_a_second_registry_finds_what_the_first_stored(path: Path, tmp_path: Path) -> None:
    """Two models in one process, each loaded by its own registry, share the store's bytes."""
    first = get_model(path)
    cold = first.encode(KNOWN)
    other = ModelRegistry(cache_dir=tmp_path / "other")
    again = CachedModel(other, first.spec, default_cache())
    assert again.encode(KNOWN).tobytes() == cold.tobytes()
    assert not again.is_loaded


# ------------------------------------------------------------------------------ fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # 3.12 and later
def test_a_child_forked_after_an_encode_finds_and_computes(path: Path) -> None:
    """Hits and misses in the child are right, and it does not hang in OpenMP."""
    torch.set_num_threads(2)
    right = truth(path, KNOWN + NEW)
    model = get_model(path)
    model.encode(KNOWN)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        good = False
        try:
            found = model.encode(KNOWN + NEW)
            good = all(
                np.allclose(row, right[text], rtol=0, atol=1e-6)
                for row, text in zip(found, KNOWN + NEW, strict=True)
            )
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    found = model.encode(KNOWN + NEW)
    for row, text in zip(found, KNOWN + NEW, strict=True):
        np.testing.assert_allclose(row, right[text], rtol=0, atol=1e-6)
