"""Exports of many families: the same vectors as torch, or a reason why not."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.exports import FAMILIES, transformer

_NEEDED = ("sentence_transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in _NEEDED),
    reason="an export needs sentence-transformers and the extra `onnx`",
)

TEXTS = ["a cat", "", " the dog. ", "a kitten and a cat", "cat " * 40, "12 dogs", "é", "A CAT"]
FACTS: dict[str, Any] = {"name": "tiny", "commit": None, "fingerprint": "0" * 64}


@pytest.fixture(autouse=True)
def _quiet_exporter(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What the exporter warns of concerns its makers; in production nobody hears it."""
    caplog.set_level(logging.ERROR, "torch.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def loaded(path: Path) -> Any:
    import sentence_transformers

    return sentence_transformers.SentenceTransformer(str(path), device="cpu")


def usable(path: Path) -> Any:
    """The model; skips where it is of a family that an old sentence-transformers cannot run."""
    try:
        model = loaded(path)
        model.encode("a cat")
    except (FileNotFoundError, TypeError) as error:
        if int(version("sentence-transformers").partition(".")[0]) >= 5:
            raise
        pytest.skip(f"this sentence-transformers cannot run it: {error}")
    return model


def exported(model: Any, source: Path, folder: Path) -> Any:
    """The details of its export, and the model that was prepared."""
    from pytest_embedcache.models.onnx.export import export_model
    from pytest_embedcache.models.onnx.model import OnnxModel

    folder.mkdir()
    found = export_model(model, folder, lambda stage: None, source=str(source), **FACTS)
    return found["details"], OnnxModel(folder)


def differ(one: Any, other: Any) -> float:
    """The largest difference, as a part of the longest vector."""
    assert one.shape == other.shape
    return float(np.abs(one - other).max() / np.linalg.norm(one, axis=1).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_gives_the_vectors_of_torch(family: str, tmp_path: Path) -> None:
    """To 1e-5 of a vector's length, in any batch, with prompts, cut, and at any maximal length."""
    st = pytest.importorskip("sentence_transformers.models")
    if family == "StaticEmbedding" and not hasattr(st, family):
        pytest.skip("this sentence-transformers has no StaticEmbedding")
    path = FAMILIES[family](tmp_path / "model")
    origin = usable(path)
    details, prepared = exported(origin, path, tmp_path / "export")
    assert details["difference"] <= 1e-5
    assert details["texts"] >= 40
    calls: list[dict[str, Any]] = [
        {},
        {"batch_size": 1},
        {"batch_size": 3, "normalize_embeddings": True},
        {"prompt": "a dog : "},
        *({"prompt_name": name} for name in origin.prompts),
    ]
    for options in calls:
        expected = origin.encode(TEXTS, show_progress_bar=False, **options)
        assert differ(expected, prepared.encode(TEXTS, **options)) <= 1e-5, options
    assert prepared.encode("a cat").shape == origin.encode("a cat").shape
    origin.truncate_dim = prepared.truncate_dim = 7
    assert prepared.get_embedding_dimension() == 7
    assert differ(origin.encode(TEXTS), prepared.encode(TEXTS)) <= 1e-5
    if family != "StaticEmbedding":  # its length is not to be set
        assert prepared.max_seq_length == 24
        whole = prepared.encode(TEXTS)
        origin.max_seq_length = prepared.max_seq_length = 6
        assert differ(origin.encode(TEXTS), prepared.encode(TEXTS)) <= 1e-5
        assert differ(whole, prepared.encode(TEXTS)) > 1e-3  # it does cut


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Path]:
    """(its files, the model in torch, its export)"""
    root = tmp_path_factory.mktemp("plain")
    path = transformer(root / "model")
    model = loaded(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported(model, path, root / "export")
    return path, model, root / "export"


def test_an_attention_is_as_simple_as_it_can_be(plain: tuple[Path, Any, Path]) -> None:
    """What torch writes out is known: no check of every number, no keys in three dimensions."""
    import onnx

    model = onnx.load(str(plain[2] / "model.onnx"), load_external_data=False)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Softmax") == 1
    assert kinds.count("IsNaN") == 0
    assert kinds.count("Slice") == 1  # of the positions


def test_a_graph_carries_no_path_of_the_machine_that_made_it(
    plain: tuple[Path, Any, Path],
) -> None:
    """Neither of the model, nor of the packages: what is shared says nothing of its maker."""
    path, _, export = plain
    graph = (export / "model.onnx").read_bytes()
    for word in (b"site-packages", str(path.parent).encode(), b".py", b"stack_trace"):
        assert word not in graph
    assert len(graph) < 40_000
    assert (export / "model.onnx.data").stat().st_size > 5_000


@pytest.mark.parametrize(
    "change",
    [{"max_seq_length": 5}, {"special": False}, {"pads_left": True}],
    ids=str,
)
def test_what_gives_other_vectors_is_refused(
    plain: tuple[Path, Any, Path], change: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever was understood wrongly shows; the reason says by how much, and on which text."""
    from pytest_embedcache.models.onnx.child import RefusedError
    from pytest_embedcache.models.onnx.description import Description
    from pytest_embedcache.models.onnx.model import OnnxModel
    from pytest_embedcache.models.onnx.verify import verified

    _, origin, export = plain
    wrong = tmp_path / "wrong"
    shutil.copytree(export, wrong)
    described = Description.read(wrong)
    if "max_seq_length" in change:
        described = replace(described, **change)
    else:
        described = replace(described, rules=replace(described.rules, **change))
    described.write(wrong)
    assert verified(origin, OnnxModel(export))["difference"] <= 1e-5
    with pytest.raises(
        RefusedError, match=r"other vectors than torch: they differ by .*\(|does not run"
    ):
        verified(origin, OnnxModel(wrong))


def test_what_treats_queries_differently_is_refused(
    plain: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    """Its two roles would be one."""
    from pytest_embedcache.models.onnx.child import RefusedError

    path = shutil.copytree(plain[0], tmp_path / "model")
    (path / "sentence_bert_config.json").write_text('{"query_length": 8}')
    with pytest.raises(RefusedError, match="queries and documents differently"):
        exported(plain[1], path, tmp_path / "export")


def test_a_model_without_a_fast_tokenizer_is_refused(
    plain: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    """Only what the tokenizers library can do alone is prepared."""
    from pytest_embedcache.models.onnx.child import RefusedError

    class Slow:
        pass

    class Transformer:
        tokenizer = Slow()

    class Model:
        def __getitem__(self, index: int) -> Any:
            return Transformer()

        def eval(self) -> None:
            pass

    with pytest.raises(RefusedError, match="first module, Transformer, has the tokenizer Slow"):
        exported(Model(), plain[0], tmp_path / "export")
