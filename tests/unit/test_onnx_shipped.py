"""The ONNX file of a model's own repository: prepared without torch, and a model of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.children import python, python_path
from support.graphs import WIDTH, expected, shipping
from support.models import add_to_hub_cache

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnx")

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import ExportError, MissingExtraError
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends import onnx as backend_module
from pytest_embedcache.models.backends.onnx import OnnxBackend
from pytest_embedcache.models.hub import wanted_files
from pytest_embedcache.models.onnx import preparation
from pytest_embedcache.models.onnx.child import RefusedError
from pytest_embedcache.models.onnx.model import OnnxModel
from pytest_embedcache.models.onnx.shipped import prepare_shipped
from pytest_embedcache.models.roles import prompts_as_loaded

TEXTS = ["a cat", "the dog of the cat", "", "revenue " * 50]


def prepare(path: Path, folder: Path) -> OnnxModel:
    folder.mkdir()
    facts: dict[str, Any] = {"name": "shipping", "commit": None, "fingerprint": "ab" * 32}
    prepare_shipped(lambda stage: None, str(path), "onnx/model.onnx", str(folder), **facts)
    return OnnxModel(folder)


def ids(model: OnnxModel) -> list[list[int]]:
    return [encoding.ids for encoding in model._tokens.encode(TEXTS, model.max_seq_length)]


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_shipped_graph_is_completed_by_pooling(
    opset: int, normalize: bool, tmp_path: Path
) -> None:
    """And normalization, whatever its version: the vectors are those of the model's modules."""
    path = shipping(tmp_path / "model", opset=opset, normalize=normalize)
    model = prepare(path, tmp_path / "out")
    tokens = ids(model)
    assert [len(row) for row in tokens] == [4, 7, 2, 24]
    whole = expected(tokens, int(model.tokenizer.get_vocab_size()), normalize=normalize)
    np.testing.assert_allclose(model.encode(TEXTS), whole, atol=1e-5)
    assert model.description.form == "shipped"
    assert model.prompts == prompts_as_loaded({"query": "query : "})
    assert model.get_embedding_dimension() == WIDTH


def test_the_first_token_can_be_the_vector(tmp_path: Path) -> None:
    """As BGE's models are pooled."""
    model = prepare(
        shipping(tmp_path / "model", mode="cls_token", normalize=False), tmp_path / "out"
    )
    size = int(model.tokenizer.get_vocab_size())
    first = expected([row[:1] for row in ids(model)], size)
    np.testing.assert_allclose(model.encode(TEXTS), first, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "change", "reason"),
    [
        ("lasttoken", {}, r"its pooling \(pooling_mode_lasttoken\) is not known here"),
        ("mean_tokens", {"include_prompt": False}, r"its pooling \(mean\) is not known here"),
        ("mean_tokens", {"type": "Dense"}, "would have to be completed by Pooling, Dense"),
        ("mean_tokens", {"type": "custom.Thing"}, "only sentence-transformers can run"),
    ],
)
def test_what_cannot_be_completed_is_refused(
    mode: str, change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """Rather none than another vector."""
    path = shipping(tmp_path / "model", mode=mode)
    if "type" in change:
        modules = json.loads((path / "modules.json").read_text())
        kind = change["type"]
        modules[2]["type"] = kind if "." in kind else f"sentence_transformers.models.{kind}"
        (path / "2_Normalize").mkdir(exist_ok=True)
        (path / "2_Normalize" / "config.json").write_text('{"out_features": 32}')
        (path / "modules.json").write_text(json.dumps(modules))
    else:
        config = json.loads((path / "1_Pooling" / "config.json").read_text())
        (path / "1_Pooling" / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(RefusedError, match=reason):
        prepare(path, tmp_path / "out")


@pytest.fixture
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "can_export", lambda: False)
    monkeypatch.setattr(
        preparation, "is_installed", lambda name: name not in ("torch", "sentence_transformers")
    )


def spec(path: Path | str, form: str = "float32") -> ModelSpec:
    return ModelSpec(str(path), backend="onnx", form=form)


@pytest.mark.usefixtures("_no_torch")
def test_without_torch_the_shipped_file_serves_under_a_fingerprint_of_its_own(
    tmp_path: Path,
) -> None:
    """Before and after it is prepared: no vector is taken for one that was verified."""
    path = shipping(tmp_path / "model")
    artifacts, backend = ArtifactStore(tmp_path / "cache"), OnnxBackend()
    before = backend.identify(spec(path), artifacts)
    resolved = backend.prepare(spec(path), artifacts)
    assert resolved.form == "shipped"
    assert resolved == backend.prepare(spec(path, "shipped"), artifacts)
    assert artifacts.built == 1
    after = backend.identify(resolved, artifacts)
    assert after.fingerprint == before.fingerprint == resolved.fingerprint()
    assert before.fingerprint != ModelSpec(str(path)).fingerprint()
    weights = path / "onnx" / "model.onnx"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert backend.identify(spec(path), artifacts).fingerprint != before.fingerprint
    assert backend.load(resolved).encode(TEXTS).shape == (4, WIDTH)


@pytest.mark.usefixtures("_no_torch")
def test_without_torch_and_without_a_file_it_is_said_what_is_missing(tmp_path: Path) -> None:
    """The package that exports; where the file itself was asked for, the file."""
    path = shipping(tmp_path / "model")
    (path / "onnx" / "model.onnx").unlink()
    artifacts, backend = ArtifactStore(tmp_path / "cache"), OnnxBackend()
    with pytest.raises(MissingExtraError, match="sentence-transformers"):
        backend.prepare(spec(path), artifacts)
    with pytest.raises(ExportError, match=r"has no file onnx/model\.onnx"):
        backend.prepare(spec(path, "shipped"), artifacts)


@pytest.mark.usefixtures("_no_torch")
def test_the_file_is_fetched_where_it_is_needed(tmp_path: Path, hub_cache: Path) -> None:
    """sentence-transformers does not read it, so a fetched model comes without."""
    path = shipping(tmp_path / "model")
    snapshot = add_to_hub_cache(hub_cache, "sentence-transformers/shipping", path)
    file = snapshot / "onnx" / "model.onnx"
    content = file.read_bytes()
    file.unlink()
    asked: list[tuple[str, str]] = []

    class Fetcher:
        def fetch(self, repository: str, revision: str, cache: Path, **options: Any) -> None:
            asked.append((repository, revision))
            assert cache == hub_cache
            file.write_bytes(content)

    artifacts, backend = ArtifactStore(tmp_path / "cache"), OnnxBackend(Fetcher())
    resolved = backend.prepare(spec("shipping"), artifacts)
    assert (resolved.form, resolved.name) == ("shipped", "sentence-transformers/shipping")
    assert asked == [("sentence-transformers/shipping", snapshot.name)]


def test_of_a_repository_the_file_is_wanted_only_by_name() -> None:
    """Its other formats and sizes stay where they are."""
    names = ["onnx/model.onnx", "onnx/model_O4.onnx", "model.safetensors", "openvino/x.xml"]
    assert wanted_files(names) == ["model.safetensors"]
    assert wanted_files(names, ("onnx/model.onnx",)) == ["model.safetensors", "onnx/model.onnx"]


_CODE = """
import json, sys
BLOCKED = {"torch", "transformers", "sentence_transformers"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocker())
from pytest_embedcache import get_model
model = get_model(sys.argv[1], backend="onnx")
vectors = model.encode(["a cat", "the dog of the cat"])
print(json.dumps([vectors.tolist(), model.spec.form, sorted(BLOCKED & set(sys.modules))]))
"""


def test_a_machine_without_torch_prepares_and_serves_it(tmp_path: Path) -> None:
    """In a process that cannot import it, nor transformers, and whose own child cannot either."""
    path = shipping(tmp_path / "model")
    stubs = tmp_path / "stubs"
    for name in ("torch", "transformers", "sentence_transformers"):
        (stubs / name).mkdir(parents=True)
        (stubs / name / "__init__.py").write_text("raise ImportError('imported after all')")
    environment = {"EMBEDCACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    where = f"{stubs}{':'}{python_path()}".rstrip(":")
    vectors, form, imported = json.loads(python(_CODE, str(path), PYTHONPATH=where, **environment))
    assert (form, imported) == ("shipped", [])
    model = prepare(path, tmp_path / "out")
    np.testing.assert_allclose(vectors, model.encode(["a cat", "the dog of the cat"]), atol=1e-6)
