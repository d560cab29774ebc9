"""Real exports by real processes: once on a machine, nothing of a killed one, vectors shared."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.models import tiny_bert

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.vectors.api import cached_model
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.tiered import TieredStore

_NEEDED = ("sentence_transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in _NEEDED),
    reason="an export needs sentence-transformers and the extra `onnx`",
)

PROCESSES = 16
TEXTS = ["a cat", "a kitten", "revenue", "", "a cat and a dog"]
_EXPORT = """
import sys
from pytest_embedcache import ModelSpec
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends.onnx import OnnxBackend
backend = OnnxBackend(stage=lambda what: print(what, flush=True))
backend.prepare(ModelSpec(sys.argv[1], backend="onnx"), ArtifactStore(sys.argv[2]))
"""
_LOAD = """
import json, sys
from pytest_embedcache import ModelRegistry, ModelSpec
registry = ModelRegistry(cache_dir=sys.argv[2])
sys.stdin.readline()
model = registry.get(ModelSpec(sys.argv[1], backend="onnx"))
vectors = model.encode(json.loads(sys.argv[3]))
heavy = ("torch", "transformers", "sentence_transformers")
imported = [name for name in heavy if name in sys.modules]
print(json.dumps([registry.artifacts.built, vectors.tobytes().hex(), imported]))
"""


@dataclass
class Start:
    """A cold start after a kill: what the killed one left, and what each process said."""

    model: Path
    cache: Path
    left: list[Path]
    published: list[Path]
    said: list[tuple[int, str, list[str]]]


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Start:
    root = tmp_path_factory.mktemp("cold")
    model, cache = tiny_bert(root / "model"), root / "cache"
    with start(_EXPORT, str(model), str(cache)) as killed:
        assert killed.stdout is not None
        while "comparing" not in killed.stdout.readline():
            pass  # the graph is written, and nothing is verified yet
        killed.send_signal(signal.SIGKILL)
    artifacts = cache / "v1" / "artifacts"
    left = [path for path in artifacts.rglob("*") if path.is_file()]
    published = list(artifacts.rglob("manifest.json"))
    herd = [start(_LOAD, str(model), str(cache), json.dumps(TEXTS)) for _ in range(PROCESSES)]
    for process in herd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [json.loads(process.communicate()[0]) for process in herd]
    return Start(model, cache, left, published, said)


@pytest.fixture
def cache() -> VectorCache:
    return VectorCache(TieredStore([MemoryStore(max_bytes=1 << 20)]))


def model_of(cold: Start, cache: VectorCache, backend: str, **options: Any) -> CachedModel:
    spec = ModelSpec(str(cold.model), backend=backend, device="cpu", **options)
    return cached_model(ModelRegistry(cache_dir=cold.cache), cache, spec)


def test_a_killed_export_leaves_nothing_that_is_used(cold: Start) -> None:
    """Its graph was on the disk, and no manifest named it; the next builder takes it away."""
    assert any(path.name == "model.onnx" for path in cold.left)
    assert cold.published == []
    assert not any(path.exists() for path in cold.left)
    (manifest,) = (cold.cache / "v1" / "artifacts").rglob("manifest.json")
    assert len([entry for entry in manifest.parent.iterdir() if entry.is_dir()]) == 1


def test_sixteen_processes_that_start_cold_export_once(cold: Start) -> None:
    """And all have the same vectors, bit by bit."""
    assert sum(built for built, _, _ in cold.said) == 1
    assert len({vectors for _, vectors, _ in cold.said}) == 1


def test_loading_imports_neither_torch_nor_transformers(cold: Start) -> None:
    """Not even in the process that exported: another did that for it."""
    assert [imported for _, _, imported in cold.said] == [[]] * PROCESSES


def test_vectors_are_shared_with_torch_both_ways(cold: Start, cache: VectorCache) -> None:
    """A verified export is the same model: what one has stored, the other does not compute."""
    torch, onnx = model_of(cold, cache, "torch"), model_of(cold, cache, "onnx")
    assert torch.fingerprint == onnx.fingerprint
    first = torch.encode(TEXTS)
    assert onnx.encode(TEXTS).tobytes() == first.tobytes()
    assert not onnx.is_loaded
    second = onnx.encode(["a dog", "revenue of a cat"], normalize_embeddings=True)
    assert onnx.is_loaded
    again = torch.encode(["a dog", "revenue of a cat"], normalize_embeddings=True)
    assert again.tobytes() == second.tobytes()
    np.testing.assert_allclose(
        torch.unwrap(copy=True).encode(["a dog"], normalize_embeddings=True), second[:1], atol=1e-5
    )


def test_what_is_changed_alike_on_both_has_one_key(cold: Start, cache: VectorCache) -> None:
    """A shorter length is state of a model; it is written down alike, and does the same."""
    torch, onnx = model_of(cold, cache, "torch"), model_of(cold, cache, "onnx")
    pristine = onnx.keys(["a cat"])
    for model in (torch, onnx):
        model.max_seq_length = 4
        model.truncate_dim = 8
    assert torch.keys(["a cat"]) == onnx.keys(["a cat"]) != pristine
    long = "a cat and a dog and a kitten"
    found = onnx.encode([long])
    assert found.shape == (1, 8)
    np.testing.assert_allclose(torch.unwrap(copy=True).encode([long]), found, atol=1e-5)
    assert torch.encode([long]).tobytes() == found.tobytes()


def test_an_artifact_that_was_damaged_is_made_anew(cold: Start, tmp_path: Path) -> None:
    """A flipped byte in the weights is seen before they are loaded."""
    cache = shutil.copytree(cold.cache, tmp_path / "cache")
    artifacts = ArtifactStore(cache)
    spec = ModelSpec(str(cold.model), backend="onnx")
    registry = ModelRegistry(cache_dir=cache)
    assert registry.identify(spec).signature is not None
    (weights,) = cache.rglob("model.onnx.data")
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    assert registry.identify(spec).signature is None
    assert artifacts.built == registry.artifacts.built == 0
