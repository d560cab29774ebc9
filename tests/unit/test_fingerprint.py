"""The fingerprint changes with everything that changes a vector, and with nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.damage import flip_byte, put
from support.models import MINILM, add_to_hub_cache

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import SnapshotError
from pytest_embedcache.fingerprint import fingerprint_of, model_files
from pytest_embedcache.weights import read_header

# -------------------------------------------------------------------------------- the same model


@pytest.mark.parametrize("blobs", [True, False], ids=["links to blobs", "copies"])
def test_a_model_from_the_hub_is_the_one_from_a_path(
    fingerprint: Callable[..., str], tiny: Path, hub_cache: Path, blobs: bool
) -> None:
    """By its name, by its snapshot's path, and as a directory anywhere: one fingerprint."""
    snapshot = add_to_hub_cache(hub_cache, MINILM, tiny, blobs=blobs)
    names = ["all-MiniLM-L6-v2", MINILM, snapshot, tiny]
    assert len({fingerprint(name) for name in names}) == 1


def test_a_spec_knows_its_fingerprint(minilm_in_hub_cache: Path) -> None:
    """Resolved or not, on whatever device, with a token or without; 64 hexadecimal digits."""
    spec = ModelSpec("all-MiniLM-L6-v2", device="cuda:1", token="hf_secret")
    resolved = ModelSpec(MINILM, device="cpu", dtype="float32", path=str(minilm_in_hub_cache))
    assert spec.fingerprint() == resolved.fingerprint()
    assert len(bytes.fromhex(spec.fingerprint())) == 32


def provenance(**keys: Any) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        for file in ("config.json", "tokenizer_config.json", "1_Pooling/config.json"):
            content = json.loads((model / file).read_text())
            (model / file).write_text(json.dumps(content | keys))

    return edit


def describe(**keys: Any) -> Callable[[Path], None]:
    return put("config_sentence_transformers.json", json.dumps(keys))


def layout(model: Path) -> None:
    for file in model.rglob("*config.json"):
        content = json.loads(file.read_text())
        file.write_text(json.dumps(dict(reversed(content.items())), indent=7))


def metadata(model: Path) -> None:
    file = model / "model.safetensors"
    table, start = read_header(file)
    body = file.read_bytes()[start:]
    header = json.dumps({"__metadata__": {"format": "pt", "by": "somebody"}, **table}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + body)


WITHOUT_INFLUENCE: dict[str, Callable[[Path], None]] = {
    "who wrote it": provenance(_name_or_path="/home/me/model", _commit_hash="abc"),
    "with which version": provenance(transformers_version="4.0.0", __version__={"torch": "1"}),
    "the tokenizer's origin": provenance(name_or_path="bert-base-uncased"),
    "the dtype that is the default anyway": provenance(torch_dtype="float32"),
    "the layout of its configurations": layout,
    "metadata of its weights": metadata,
    "a readme": put("README.md"),
    "a picture": put("picture.png"),
    "prompts": describe(prompts={"query": "q: "}, default_prompt_name="query"),
    "a similarity": describe(similarity_fn_name="dot", model_type="SentenceTransformer"),
    "versions of the library": describe(__version__={"sentence_transformers": "5.0.0"}),
    "older weights beside it": put("pytorch_model.bin"),
    "weights for TensorFlow": put("tf_model.h5"),
    "weights for Rust": put("rust_model.ot"),
    "an ONNX export": put("onnx/model.onnx"),
    "a configuration of that export": put("onnx/config.json", "{}"),
    "an OpenVINO export": put("openvino/openvino_model.bin"),
    "a script that trained it": put("train_script.py"),
    "figures of its training": put("train_results.json", "{}"),
    "a hidden file": put(".gitattributes"),
    "a hidden file of a module": put("1_Pooling/.DS_Store"),
    "a module's readme": put("1_Pooling/README.md"),
}


@pytest.mark.parametrize("change", WITHOUT_INFLUENCE)
def test_what_cannot_change_a_vector_does_not_change_it(
    fingerprint: Callable[..., str], tiny: Path, change: str
) -> None:
    """Added to a model, or changed in it: the same fingerprint."""
    before = fingerprint(tiny)
    WITHOUT_INFLUENCE[change](tiny)
    assert fingerprint(tiny) == before


def test_no_unread_file_of_the_real_model_counts(
    fingerprint: Callable[..., str], minilm: Path, tmp_path: Path
) -> None:
    """With nothing but the files that are read, it is the same model."""
    bare = tmp_path / "bare"
    for name in model_files(str(minilm)):
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(minilm / name, bare / name)
    assert fingerprint(bare) == fingerprint(minilm)
    assert not (bare / "README.md").exists()


# --------------------------------------------------------------------------------- another model


def test_edited_weights_under_one_name_are_another_model(
    fingerprint: Callable[..., str], tiny: Path, hub_cache: Path
) -> None:
    """One bit of one tensor, in a directory and in a snapshot; put back, it is the old one."""
    snapshot = add_to_hub_cache(hub_cache, MINILM, tiny)
    before = fingerprint(tiny)
    for name, folder in ((tiny, tiny), (MINILM, snapshot)):
        flip_byte(folder / "model.safetensors")
        assert fingerprint(name) != before
        flip_byte(folder / "model.safetensors")
        assert fingerprint(name) == before


def test_a_moved_main_is_another_model(
    fingerprint: Callable[..., str], tiny: Path, hub_cache: Path
) -> None:
    """The name follows `refs/main`; each commit stays what it is."""
    add_to_hub_cache(hub_cache, MINILM, tiny, commit="a" * 40)
    before = fingerprint(MINILM)
    flip_byte(tiny / "model.safetensors")
    add_to_hub_cache(hub_cache, MINILM, tiny, commit="b" * 40)
    after = fingerprint(MINILM)
    assert after != before
    assert fingerprint(MINILM, revision="a" * 40) == before
    assert fingerprint(MINILM, revision="b" * 40) == after


# -------------------------------------------------------------------------------------- explained


def test_the_parts_say_what_went_in(tiny: Path) -> None:
    """One line for each file that is read, the tensors of each module, the dtype and the form."""
    found = fingerprint_of(ModelSpec(str(tiny)))
    labels = [label for label, _ in found.parts]
    files = [name for name in model_files(str(tiny)) if name != "model.safetensors"]
    assert labels == sorted([*files, "weights", "dtype", "form"])
    assert dict(found.parts)["dtype"] == "float32"
    assert found.source == "content"


def test_a_model_that_is_not_whole_has_no_fingerprint(
    fingerprint: Callable[..., str], tiny: Path
) -> None:
    """It is an error with the problem, and no fingerprint of what is left."""
    (tiny / "1_Pooling" / "config.json").unlink()
    with pytest.raises(SnapshotError, match=r"1_Pooling/config\.json is missing"):
        fingerprint(tiny)


def test_a_list_of_files_of_a_broken_model_is_an_error_of_ours(tiny: Path) -> None:
    """Not the JSON module's."""
    (tiny / "modules.json").write_text("[")
    with pytest.raises(SnapshotError, match=r"modules\.json is not JSON"):
        model_files(str(tiny))
