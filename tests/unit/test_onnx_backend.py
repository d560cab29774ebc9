"""The backend `onnx`: which model a spec means, when it is prepared, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.models import add_to_hub_cache
from support.preparing import Children

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import ExportError, MissingExtraError, ModelSpecError
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends.onnx import OnnxBackend
from pytest_embedcache.models.backends.torch import TorchBackend
from pytest_embedcache.models.onnx import preparation, published
from pytest_embedcache.models.onnx.child import ChildError, RefusedError


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    return Children(monkeypatch)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "cache")


@pytest.fixture
def backend() -> OnnxBackend:
    return OnnxBackend()


def spec(path: Path | str, form: str = "float32", **options: Any) -> ModelSpec:
    return ModelSpec(str(path), backend="onnx", form=form, **options)


def torch_fingerprint(path: Path, artifacts: ArtifactStore) -> str:
    return TorchBackend().identify(ModelSpec(str(path), device="cpu"), artifacts).fingerprint


# ----------------------------------------------------------------------------------- which model


def test_a_verified_export_is_the_model_that_it_was_made_of(
    tiny: Path, backend: OnnxBackend, artifacts: ArtifactStore, children: Children
) -> None:
    """One fingerprint, before and after it is prepared: its vectors are shared with torch's."""
    before = backend.identify(spec(tiny), artifacts)
    assert before.fingerprint == torch_fingerprint(tiny, artifacts)
    assert before.signature is None  # nothing that could be loaded
    assert children.asked == []
    resolved = backend.prepare(spec(tiny), artifacts)
    assert children.asked == ["export"]
    after = backend.identify(spec(tiny), artifacts)
    assert after == backend.identify(resolved, artifacts)
    assert after.signature == backend.signature(resolved) is not None
    assert after.fingerprint == before.fingerprint == resolved.fingerprint()
    assert backend.prepare(spec(tiny), artifacts) == resolved
    assert children.asked == ["export"]


@pytest.mark.parametrize("form", ["int8", "int8-dynamic"])
def test_a_small_form_is_a_model_of_its_own(
    form: str, tiny: Path, backend: OnnxBackend, artifacts: ArtifactStore, children: Children
) -> None:
    """Made of the export, which is prepared first; before and after of one fingerprint."""
    forms = ("float32", "int8", "int8-dynamic")
    known = {f: backend.identify(spec(tiny, f), artifacts).fingerprint for f in forms}
    assert len(set(known.values())) == 3
    before = known[form]
    resolved = backend.prepare(spec(tiny, form), artifacts)
    assert children.asked == ["export", "make_small"]
    assert resolved.form == form
    assert backend.identify(resolved, artifacts).fingerprint == before == resolved.fingerprint()
    backend.prepare(spec(tiny), artifacts)
    assert children.asked == ["export", "make_small"]


def test_a_checkpoint_in_half_precision_is_computed_in_float32(
    tiny: Path, backend: OnnxBackend, artifacts: ArtifactStore
) -> None:
    """So it is the model that torch loads with dtype float32, not the one that it would choose."""
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    identity = backend.identify(spec(tiny), artifacts)
    wide = ModelSpec(str(tiny), device="cpu", dtype="float32")
    assert identity.dtype == "float32"
    assert identity.fingerprint == TorchBackend().identify(wide, artifacts).fingerprint


def test_copies_with_other_prompts_are_prepared_apart(
    tiny: Path, tmp_path: Path, backend: OnnxBackend, artifacts: ArtifactStore, children: Children
) -> None:
    """Prompts are not in the fingerprint, but an artifact has them."""
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "config_sentence_transformers.json").write_text('{"prompts": {"query": "q: "}}')
    same = shutil.copytree(tiny, tmp_path / "same")
    resolved = [backend.prepare(spec(path), artifacts) for path in (tiny, copy, same)]
    assert len({torch_fingerprint(path, artifacts) for path in (tiny, copy, same)}) == 1
    assert children.asked == ["export", "export"]
    assert resolved[0].path == resolved[2].path != resolved[1].path
    assert [backend.identify(one, artifacts).name for one in resolved] == [
        str(tiny),
        str(copy),
        str(same),
    ]


def test_a_model_that_is_prepared_needs_its_files_no_more(
    tiny: Path, hub_cache: Path, backend: OnnxBackend, artifacts: ArtifactStore, children: Children
) -> None:
    """A Hub cache can be emptied: what was made of it is found by what the name meant."""
    snapshot = add_to_hub_cache(hub_cache, "sentence-transformers/tiny", tiny)
    resolved = backend.prepare(spec("tiny"), artifacts)
    assert resolved.name == "sentence-transformers/tiny"
    assert resolved.revision == snapshot.name
    shutil.rmtree(hub_cache)
    assert backend.prepare(spec("tiny"), artifacts) == resolved
    assert children.asked == ["export"]


@pytest.mark.parametrize(
    "options", [{"device": "cuda"}, {"dtype": "float16"}, {"form": "float16"}], ids=str
)
def test_a_prepared_model_computes_on_the_cpu_in_float32(options: dict[str, Any]) -> None:
    """Anything else is said to be impossible where it is asked for, and is no other key."""
    with pytest.raises(ModelSpecError):
        ModelSpec("m", backend="onnx", **options)
    plain = ModelSpec("m", backend="onnx")
    assert plain == ModelSpec("m", backend="onnx", device="cpu", dtype="float32")
    with pytest.raises(ModelSpecError, match="use one of float32 with the backend 'torch'"):
        ModelSpec("m", form="int8")


# --------------------------------------------------------------------------------- what goes wrong


def test_a_refusal_is_found_out_once_on_a_machine(
    tiny: Path,
    backend: OnnxBackend,
    artifacts: ArtifactStore,
    children: Children,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every process is told the reason; with another torch, say, it is tried again."""
    children.error = RefusedError("it has a router")
    assert backend.refusal(spec(tiny), artifacts) is None
    for _ in range(2):
        with pytest.raises(ExportError, match="it has a router") as caught:
            backend.prepare(spec(tiny), artifacts)
        assert (caught.value.reason, caught.value.form) == ("it has a router", "float32")
        assert "backend='torch'" in str(caught.value)
    assert children.asked == ["export"]
    assert backend.refusal(spec(tiny), artifacts) == "it has a router"
    assert backend.identify(spec(tiny), artifacts).signature is None
    children.error = None
    monkeypatch.setattr(published, "makers", lambda: {"torch": "99"})
    assert backend.refusal(spec(tiny), artifacts) is None
    backend.prepare(spec(tiny), artifacts)
    assert children.asked == ["export", "export"]
    assert backend.identify(spec(tiny), artifacts).signature is not None


def test_a_small_form_of_what_is_refused_is_refused(
    tiny: Path, backend: OnnxBackend, artifacts: ArtifactStore, children: Children
) -> None:
    """For the same reason, and without trying."""
    children.error = RefusedError("it has a router")
    for _ in range(2):
        with pytest.raises(ExportError, match="it has a router"):
            backend.prepare(spec(tiny, "int8"), artifacts)
    assert children.asked == ["export"]


def test_a_failure_is_tried_again(
    tiny: Path, backend: OnnxBackend, artifacts: ArtifactStore, children: Children
) -> None:
    """It may have been for want of memory; nothing of it is kept."""
    children.error = ChildError("MemoryError")
    with pytest.raises(ExportError, match=r"the export failed \(MemoryError\)"):
        backend.prepare(spec(tiny), artifacts)
    children.error = None
    backend.prepare(spec(tiny), artifacts)
    assert children.asked == ["export", "export"]


def test_files_that_change_meanwhile_are_not_what_was_exported(
    tiny: Path, backend: OnnxBackend, artifacts: ArtifactStore, children: Children
) -> None:
    """Or the export of one model would stand for another."""
    weights = tiny / "model.safetensors"
    children.meanwhile = lambda: weights.write_bytes(weights.read_bytes())
    with pytest.raises(ExportError, match="its files changed meanwhile"):
        backend.prepare(spec(tiny), artifacts)
    children.meanwhile = lambda: None
    backend.prepare(spec(tiny), artifacts)
    assert artifacts.built == 1


@pytest.mark.parametrize(
    ("missing", "extra"),
    [
        ("sentence_transformers", "sentence-transformers"),
        ("onnxscript", "onnx"),
        ("onnxruntime", "onnx"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(
    missing: str,
    extra: str,
    tiny: Path,
    backend: OnnxBackend,
    artifacts: ArtifactStore,
    children: Children,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is started."""
    monkeypatch.setattr(preparation, "is_installed", lambda package: package != missing)
    with pytest.raises(MissingExtraError, match=rf"pytest-embedcache\[{extra}\]"):
        backend.prepare(spec(tiny), artifacts)
    assert children.asked == []
