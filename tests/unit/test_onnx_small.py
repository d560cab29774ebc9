"""Small forms: what they cost in agreement, in size, and that no text depends on another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graphs import WIDTH, prepared

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnx")

from pytest_embedcache.models.onnx.child import RefusedError
from pytest_embedcache.models.onnx.description import Description
from pytest_embedcache.models.onnx.model import OnnxModel
from pytest_embedcache.models.onnx.small import make_small, shrink
from pytest_embedcache.models.onnx.texts import docstrings, hard_texts
from pytest_embedcache.models.onnx.verify import agreement

FORMS = ["int8", "int8-dynamic"]
TEXTS = ["a cat", "the dog and the kitten", "revenue of the cat . " * 3, "", "12 dogs"]


@pytest.fixture
def exact(tmp_path: Path) -> Path:
    return prepared(tmp_path / "exact")


def small(exact: Path, form: str, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return make_small(lambda stage: None, str(exact), str(folder), form, "cd" * 32)


@pytest.mark.parametrize("form", FORMS)
def test_a_small_form_agrees_and_says_how_well(exact: Path, form: str, tmp_path: Path) -> None:
    """Cosines and neighbours on 300 real texts; and it is a model of its own, of a fingerprint."""
    found = small(exact, form, tmp_path / "small")
    details = found["details"]
    assert details["texts"] == 300
    assert 0.99 < details["cosine_worst"] <= details["cosine_mean"] < 1
    assert details["same_nearest"] > 0.8
    described = Description.read(tmp_path / "small")
    assert (described.form, described.fingerprint) == (form, "cd" * 32)
    assert described.alone is (form == "int8-dynamic")
    one, other = OnnxModel(exact), OnnxModel(tmp_path / "small")
    again = agreement(one, other)
    assert again == details
    assert agreement(one, one)["cosine_worst"] == pytest.approx(1)


@pytest.mark.parametrize("form", FORMS)
def test_a_texts_vector_does_not_depend_on_its_neighbours(
    exact: Path, form: str, tmp_path: Path
) -> None:
    """Or what is stored would be one of many."""
    small(exact, form, tmp_path / "small")
    model = OnnxModel(tmp_path / "small")
    together = model.encode(TEXTS, batch_size=32)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(model.encode(text), row, atol=1e-5 * float(np.abs(row).max()))


@pytest.mark.parametrize("form", FORMS)
def test_large_weights_are_8_bits_wide(exact: Path, form: str, tmp_path: Path) -> None:
    """The table and the product; nothing of them is left in 32 bits."""
    import onnx

    small(exact, form, tmp_path / "small")
    model = onnx.load(str(tmp_path / "small" / "model.onnx"))
    kinds = {node.op_type for node in model.graph.node}
    assert "MatMul" not in kinds
    assert ("MatMulNBits" if form == "int8" else "MatMulInteger") in kinds
    wide = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    size = Description.read(exact).dimension
    assert size == WIDTH
    assert all(np.prod(t.dims) < 512 for t in wide)
    assert {"table", "matrix"}.isdisjoint(t.name for t in model.graph.initializer)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_layer_with_a_bias_keeps_it(form: str, transposed: int, tmp_path: Path) -> None:
    """Gemm, as a Dense layer is exported: its right side may be transposed."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(1)
    matrix = draw.standard_normal((24, 40)).astype(np.float32)
    bias = draw.standard_normal(40).astype(np.float32) * 10
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=transposed)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 40])],
        [
            numpy_helper.from_array(matrix.T.copy() if transposed else matrix, "w"),
            numpy_helper.from_array(bias, "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    shrink(model, form)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = draw.standard_normal((3, 24)).astype(np.float32)
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found, x @ matrix + bias, atol=0.5)


def test_a_graph_without_large_weights_is_refused(tmp_path: Path) -> None:
    """A form that is no smaller is none."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [value], [out])
    with pytest.raises(RefusedError, match="no weights that could be made small"):
        shrink(helper.make_model(graph), "int8")


def test_the_texts_are_real_distinct_and_of_every_length() -> None:
    """Two figures of agreement can be compared only where the texts are the same."""
    texts = docstrings()
    assert len(texts) == len(set(texts)) == 300
    assert docstrings() == texts
    lengths = sorted(map(len, texts))
    assert lengths[0] < 100
    assert lengths[-20] > 1500
    hard = hard_texts(("[SEP]",))
    assert len(hard) >= 40
    assert {"", " "} <= set(hard)
    assert any("[SEP]" in text for text in hard)
    assert max(map(len, hard)) > 4000
