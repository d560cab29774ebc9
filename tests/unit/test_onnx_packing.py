"""Weights that lie in the file as the processor wants them: used where they are right, else not."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from support.graphs import WIDTH, prepared

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("onnx")

from pytest_embedcache.models.onnx.description import GRAPH, WEIGHTS
from pytest_embedcache.models.onnx.graph import load
from pytest_embedcache.models.onnx.model import OnnxModel
from pytest_embedcache.models.onnx.packing import pack
from pytest_embedcache.models.onnx.small import make_small

TEXTS = ["a cat", "the dog and the kitten", "revenue of the cat . " * 3, ""]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = prepared(tmp_path / "packed")
    pack(folder)
    return folder


def vectors(folder: Path) -> np.ndarray:
    found: np.ndarray = OnnxModel(folder, threads=1).encode(TEXTS)
    return found


def entries(folder: Path, name: str) -> dict[str, str]:
    """What the graph says of the place of a weight."""
    import onnx

    model = onnx.load(str(folder / GRAPH), load_external_data=False)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    return {entry.key: entry.value for entry in tensor.external_data}


def overwrite(folder: Path, offset: int, numbers: np.ndarray) -> None:
    with open(folder / WEIGHTS, "r+b") as stream:
        stream.seek(offset)
        stream.write(numbers.astype(np.float32).tobytes())


def arranged(folder: Path) -> tuple[str, int, int]:
    """Of the product's weights: (operator and hash, offset, bytes)."""
    match = re.match(r"(.+)\|(\d+);(\d+);", entries(folder, "matrix")["prepacked_0"])
    assert match is not None
    return match[1], int(match[2]), int(match[3])


def test_what_is_arranged_in_the_file_is_what_is_computed_with(
    packed: Path, tmp_path: Path
) -> None:
    """The vectors are those of the weights; and they are read from the file: what is overwritten
    there (which the artifact's checksum would show) is noticed."""
    plain = prepared(tmp_path / "plain")
    np.testing.assert_allclose(vectors(packed), vectors(plain), rtol=1e-5, atol=1e-6)
    _, offset, length = arranged(packed)
    assert length == 4 * WIDTH * WIDTH
    assert os.path.getsize(packed / WEIGHTS) >= os.path.getsize(plain / WEIGHTS) + length
    assert sorted(os.listdir(packed)) == sorted(os.listdir(plain))
    overwrite(packed, offset, np.zeros(WIDTH * WIDTH))
    try:
        found = vectors(packed)
    except Exception as error:  # newer versions of ONNX Runtime compare
        if "pre-packed" not in str(error):
            raise
    else:
        assert not found.any()


def test_what_was_arranged_elsewhere_is_not_used(packed: Path) -> None:
    """Another processor, or another version, arranges otherwise, and looks for another hash."""
    mine = vectors(packed)
    name, offset, _ = arranged(packed)
    operator, plus, hashed = name.partition("+")
    assert (operator, plus) == ("MatMul", "+")
    other = str(int(hashed) ^ 1)
    assert len(other) == len(hashed)
    graph = (packed / GRAPH).read_bytes()
    (packed / GRAPH).write_bytes(graph.replace(hashed.encode(), other.encode()))
    overwrite(packed, offset, np.full(WIDTH * WIDTH, np.nan))
    np.testing.assert_array_equal(vectors(packed), mine)


def test_what_was_arranged_of_other_weights_is_not_used(packed: Path) -> None:
    """The hash is of what this process arranged itself, from the weights as they are now."""
    mine = vectors(packed)
    doubled = load(packed)
    (matrix,) = (tensor for tensor in doubled.graph.initializer if tensor.name == "matrix")
    offset = int(entries(packed, "matrix")["offset"])
    overwrite(packed, offset, 2 * np.frombuffer(matrix.raw_data, np.float32))
    np.testing.assert_array_equal(vectors(packed), 2 * mine)


@pytest.mark.parametrize("form", ["int8", "int8-dynamic"])
def test_small_forms_are_made_of_the_weights_alone(packed: Path, form: str, tmp_path: Path) -> None:
    """They are the same, and as small, as those of an export that was not arranged."""
    made = []
    for source in (packed, prepared(tmp_path / "plain")):
        folder = tmp_path / f"small-{source.name}"
        folder.mkdir()
        make_small(lambda stage: None, str(source), str(folder), form, "cd" * 32)
        made.append(folder)
    one, other = made
    np.testing.assert_array_equal(vectors(one), vectors(other))
    assert os.path.getsize(one / WEIGHTS) == os.path.getsize(other / WEIGHTS)
    assert b"prepacked" not in (one / GRAPH).read_bytes()


def test_the_graph_is_otherwise_as_it_was(packed: Path, tmp_path: Path) -> None:
    """No operator is another one, no version is other, and nothing tells who made it."""
    before, after = load(prepared(tmp_path / "plain")), load(packed)
    kinds = [sorted(node.op_type for node in model.graph.node) for model in (before, after)]
    assert kinds[0] == kinds[1]
    assert after.opset_import == before.opset_import
    assert (after.producer_name, after.doc_string) == ("", "")
    weights = [{t.name: t.raw_data for t in model.graph.initializer} for model in (before, after)]
    assert weights[0] == weights[1]


def test_a_graph_without_weights_beside_it_stays_as_it_is(tmp_path: Path) -> None:
    """There is nothing to arrange, and nothing to map."""
    (tmp_path / GRAPH).write_bytes(b"whatever")
    pack(tmp_path)
    assert (tmp_path / GRAPH).read_bytes() == b"whatever"
    assert os.listdir(tmp_path) == [GRAPH]
