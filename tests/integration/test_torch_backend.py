"""The backend `torch`: the models of sentence-transformers, loaded from the disk alone."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.letting_go import is_let_go
from support.models import MINILM, add_to_hub_cache

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.dtypes import keeps_dtype
from pytest_embedcache.errors import ModelLoadError, ModelNotFoundError, SnapshotError

# Looked for, and not imported: that takes seconds, also where none of these tests is run.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="the backend 'torch' needs sentence-transformers",
)

TEXTS = ["a cat", "a kitten", "quarterly revenue", "", "é" * 600, "a cat "]


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is an error: nothing here needs one."""

    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"the network was asked: {arguments[1:]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture
def registry() -> Iterator[ModelRegistry]:
    registry = ModelRegistry()
    yield registry
    registry.reset()


def load(registry: ModelRegistry, name: str | Path, **options: Any) -> Any:
    return registry.get(ModelSpec(str(name), **{"device": "cpu", **options}))


def plain(path: Path, **options: Any) -> Any:
    import sentence_transformers

    return sentence_transformers.SentenceTransformer(str(path), device="cpu", **options)


def dtype_of(model: Any) -> str:
    return str(next(model.parameters()).dtype).removeprefix("torch.")


# ----------------------------------------------------------------------------------- the same model


@pytest.mark.parametrize("blobs", [True, False], ids=["links to blobs", "copies"])
def test_the_real_model_by_its_name_is_the_plain_one_to_the_byte(
    registry: ModelRegistry, minilm: Path, hub_cache: Path, blobs: bool
) -> None:
    """From the Hub cache, without a connection: the vectors of a plain SentenceTransformer."""
    add_to_hub_cache(hub_cache, MINILM, minilm, blobs=blobs)
    ours = load(registry, "all-MiniLM-L6-v2").encode(TEXTS)
    theirs = plain(minilm).encode(TEXTS)
    assert ours.tobytes() == theirs.tobytes()
    assert ours.shape == (len(TEXTS), 384)
    assert registry.stats().loads == 1


def test_a_relative_path_is_loaded_from_the_disk(
    registry: ModelRegistry, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sentence-transformers would ask the Hub for it; we give it the real path."""
    monkeypatch.chdir(tiny.parent.parent)
    name = f"{tiny.parent.name}/{tiny.name}"
    assert load(registry, name).encode(TEXTS).tobytes() == plain(tiny).encode(TEXTS).tobytes()


def test_a_relative_path_means_another_model_in_another_directory(
    registry: ModelRegistry, make_tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name, two directories, two models, also in one registry."""
    here, there = make_tiny("here/model", seed=1), make_tiny("there/model", seed=2)
    vectors = []
    for directory in (here, there, here):
        monkeypatch.chdir(directory.parent)
        vectors.append(load(registry, "model").encode("a cat").tobytes())
    assert vectors[0] == vectors[2] != vectors[1]
    assert registry.stats().loads == 2


# -------------------------------------------------------------------------------------------- dtype


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_dtype_that_was_asked_for_is_loaded(
    registry: ModelRegistry, tiny: Path, dtype: str
) -> None:
    """Every parameter is in it, and the spec says so."""
    model = load(registry, tiny, dtype=dtype)
    assert {str(p.dtype) for p in model.parameters()} == {f"torch.{dtype}"}
    assert registry.resolve(ModelSpec(str(tiny), dtype=dtype)).dtype == dtype


@pytest.fixture(params=["configured", "not configured"])
def half(request: pytest.FixtureRequest, tiny: Path) -> Path:
    """A checkpoint saved in bfloat16; whether its configuration says so or only its tensors."""
    safetensors: Any = pytest.importorskip("safetensors.torch")
    tensors = safetensors.load_file(tiny / "model.safetensors")
    halved = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    safetensors.save_file(halved, tiny / "model.safetensors", metadata={"format": "pt"})
    if request.param == "configured":
        config = json.loads((tiny / "config.json").read_text())
        (tiny / "config.json").write_text(json.dumps(config | {"torch_dtype": "bfloat16"}))
    return tiny


def test_the_default_dtype_is_the_plain_ones(registry: ModelRegistry, half: Path) -> None:
    """Of a checkpoint saved in bfloat16: what the installed transformers makes of it."""
    expected = "bfloat16" if keeps_dtype() else "float32"
    assert dtype_of(plain(half)) == expected
    assert dtype_of(load(registry, half)) == expected
    assert registry.resolve(ModelSpec(str(half))).dtype == expected


def test_the_default_dtype_can_be_overruled(registry: ModelRegistry, half: Path) -> None:
    """The same checkpoint in float32: another spec, another model."""
    assert dtype_of(load(registry, half, dtype="float32")) == "float32"
    assert dtype_of(load(registry, half, dtype="bfloat16")) == "bfloat16"
    assert registry.stats().loads == 2


# ---------------------------------------------------------------------------------- code of its own

CODE = """
import pathlib
pathlib.Path({marker!r}).write_text("it ran")
from sentence_transformers.models import Normalize
class Mine(Normalize):
    pass
"""


@pytest.fixture
def marker(tiny: Path, tmp_path: Path) -> Path:
    """A file that a module of the tiny model's own writes when it is imported."""
    marker = tmp_path / "marker"
    modules = json.loads((tiny / "modules.json").read_text())
    modules[2]["type"] = "its_own.Mine"
    (tiny / "modules.json").write_text(json.dumps(modules))
    (tiny / "its_own.py").write_text(CODE.format(marker=str(marker)))
    return marker


@pytest.mark.parametrize("from_hub", [True, False], ids=["a name", "a directory"])
def test_code_of_a_model_does_not_run_unless_it_is_trusted(
    registry: ModelRegistry, tiny: Path, marker: Path, hub_cache: Path, from_hub: bool
) -> None:
    """Also in versions that trust whatever is a directory; the error says how to allow it."""
    add_to_hub_cache(hub_cache, "org/its-own", tiny)
    with pytest.raises(ModelLoadError) as caught:
        load(registry, "org/its-own" if from_hub else tiny)
    assert not marker.exists()
    assert "its module its_own.Mine is code that is not part of" in str(caught.value)
    assert "if you trust it, give trust_remote_code=True" in str(caught.value)
    assert caught.value.backend == "torch"


def test_an_architecture_of_a_models_own_does_not_run_unless_it_is_trusted(
    registry: ModelRegistry, tiny: Path, marker: Path
) -> None:
    """What transformers refuses is refused with the same remedy."""
    (tiny / "modules.json").unlink()
    config = json.loads((tiny / "config.json").read_text())
    config |= {"model_type": "its_own", "auto_map": {"AutoConfig": "its_own.Mine"}}
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError) as caught:
        load(registry, tiny)
    assert not marker.exists()
    assert "if you trust it, give trust_remote_code=True" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


# ---------------------------------------------------------------------------------------- bad input


def test_a_half_copied_directory_is_an_error_with_what_is_missing(
    registry: ModelRegistry, tiny: Path
) -> None:
    """All that is missing, and nothing is loaded."""
    (tiny / "1_Pooling" / "config.json").unlink()
    weights = tiny / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(SnapshotError) as caught:
        load(registry, tiny)
    assert len(caught.value.problems) == 2
    assert str(tiny) in str(caught.value)
    assert registry.stats().loads == 0


def test_a_corrupt_snapshot_offline_is_an_error_and_the_mended_one_works(
    registry: ModelRegistry, tiny: Path, hub_cache: Path
) -> None:
    """The failure is not remembered."""
    snapshot = add_to_hub_cache(hub_cache, "org/tiny", tiny)
    content = (snapshot / "model.safetensors").read_bytes()
    (snapshot / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(SnapshotError, match="where its header promises"):
        load(registry, "org/tiny")
    (snapshot / "model.safetensors").write_bytes(content)
    assert load(registry, "org/tiny").encode("a cat").shape == (16,)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("{tiny}/missing", "there is no such directory"),
        ("{tiny}/config.json", "is a file, not a directory"),
        ("org/never-heard-of", "HF_HUB_OFFLINE forbids to fetch it"),
    ],
)
def test_a_name_that_leads_nowhere_is_an_error(
    registry: ModelRegistry, tiny: Path, name: str, reason: str
) -> None:
    """With the name and the reason."""
    name = name.format(tiny=tiny)
    with pytest.raises(ModelNotFoundError, match=reason) as caught:
        load(registry, name)
    assert repr(name) in str(caught.value)


def test_a_directory_without_a_model_is_an_error(registry: ModelRegistry, tmp_path: Path) -> None:
    """It says what a model would have."""
    with pytest.raises(SnapshotError, match=r"neither modules\.json nor config\.json"):
        load(registry, tmp_path)


@pytest.mark.parametrize("device", ["cuda:7", "nonsense"])
def test_a_device_that_is_not_there_is_an_error_with_its_name(
    registry: ModelRegistry, tiny: Path, device: str
) -> None:
    """The remedy names the device; the next load on another one works."""
    with pytest.raises(ModelLoadError) as caught:
        load(registry, tiny, device=device)
    assert f"Check that the device '{device}' is there, or give device='cpu'" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert load(registry, tiny).encode("a cat").shape == (16,)
    assert registry.stats().loads == 1


def test_a_model_that_cannot_be_built_is_an_error_with_the_cause(
    registry: ModelRegistry, tiny: Path
) -> None:
    """The files are whole, and of an architecture that nobody knows."""
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {"model_type": "of nobody"}))
    with pytest.raises(ModelLoadError) as caught:
        load(registry, tiny)
    assert caught.value.name == os.path.realpath(tiny)
    assert caught.value.__cause__ is not None
    assert f"SentenceTransformer({str(tiny)!r}) alone; it should fail alike" in str(caught.value)


# ------------------------------------------------------------------------------------------- memory


def test_an_evicted_model_is_gone_though_the_collector_was_frozen(tiny: Path) -> None:
    """It was frozen before the model was built: a model holds cycles, and would stay for ever."""
    calls: list[bool] = []

    def freeze(fresh: bool) -> None:
        calls.append(fresh)
        gc.freeze()

    registry = ModelRegistry(after_import=freeze)
    try:
        spec = ModelSpec(str(tiny), device="cpu")
        model = registry.get(spec)
        model.encode("a cat")
        gone = weakref.ref(model)
        assert registry.evict(spec)
        del model
        assert is_let_go(gone)
        assert len(calls) == 1  # imported just now or before, it was frozen
    finally:
        gc.unfreeze()
