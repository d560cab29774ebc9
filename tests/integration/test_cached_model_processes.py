"""A model and its files, as these change and go; processes that are warm, and that fork."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.children import python
from support.elsewhere import KNOWN, NEW, check, own_process, read_elsewhere, truth, with_prompts
from support.models import MINILM, add_to_hub_cache

from pytest_embedcache import ModelRegistry, get_model
from pytest_embedcache.models.registry import default_registry
from pytest_embedcache.vectors.api import default_cache
from pytest_embedcache.vectors.cached_model import CachedModel

torch = pytest.importorskip("torch", reason="needs torch")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="needs sentence-transformers"
)


@pytest.fixture(autouse=True)
def _own_process() -> Iterator[None]:
    with own_process():
        yield


@pytest.fixture
def path(tiny: Path) -> Path:
    """A model with prompts that the test may change."""
    return with_prompts(tiny)


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


def test_a_pickled_model_is_the_same_model_in_another_process(path: Path) -> None:
    """It finds the vectors there, without the weights having travelled."""
    model = get_model(path)
    expected = model.encode(KNOWN).tobytes().hex()
    code = (
        "import json, pickle, sys\n"
        "sys.modules['torch'] = sys.modules['sentence_transformers'] = None\n"
        "model = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "print(model.encode(json.loads(sys.argv[2])).tobytes().hex())"
    )
    assert python(code, pickle.dumps(model).hex(), json.dumps(KNOWN)) == expected


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
