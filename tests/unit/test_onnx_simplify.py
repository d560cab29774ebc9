"""Attentions as torch.onnx writes them, in fewer steps: the same numbers, or left alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from pytest_embedcache.models.onnx.simplify import simplify

LEAST = float(np.finfo(np.float32).min)
#: The second text sees its first token only, and the third none.
SEEN = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], bool)
TURN = [0, 2, 1, 3]


def attention(masked: float = LEAST, *, known: bool = True, turned: bool = True) -> Any:
    """One of `tokens` (texts, length, 16) with itself, in two heads; `masked` is added to what is
    not seen.

    Without `known` nothing tells how many dimensions the keys have. Without `turned` they are
    reshaped to what they were, which is no transposition, and only then transposed.
    """
    numbers: dict[str, Any] = {
        "split": [0, 0, 2, 8],
        "joined": [0, 0, 16],
        "any": [-1],
        "axes": [1, 2],
        **{f"at{place}": [place] for place in (-2, -1, 0, 9)},
    }
    constants = [numpy_helper.from_array(np.array(v), name) for name, v in numbers.items()]
    constants += [
        numpy_helper.from_array(np.array(v, np.float32), name)
        for name, v in (("nothing", 0), ("masked", masked))
    ]
    make, ends = helper.make_node, ["width", "length"]
    nodes = [
        make("Reshape", ["tokens", "split"], ["heads"]),
        make("Transpose", ["heads"], ["query"], perm=TURN),
        make("Transpose", ["heads"], ["key"], perm=TURN)
        if known
        else make("Identity", ["query"], ["key"]),
        make("Shape", ["key"], ["shape"]),
        make("Slice", ["shape", "at0", "at-2"], ["outer"]),
        make("Slice", ["shape", "at-2", "at-1"], ["length"]),
        make("Slice", ["shape", "at-1", "at9"], ["width"]),
        make("Concat", ["any", "length", "width"], ["flat"], axis=0),
        make("Reshape", ["key", "flat"], ["flat_key"]),
        make("Transpose", ["flat_key"], ["flat_turned"], perm=[0, 2, 1]),
        make("Concat", ["outer", *(ends if turned else ends[::-1])], ["back"], axis=0),
        make("Reshape", ["flat_turned", "back"], ["shaped"]),
        make("Identity", ["shaped"], ["right"])
        if turned
        else make("Transpose", ["shaped"], ["right"], perm=[0, 1, 3, 2]),
        make("MatMul", ["query", "right"], ["scores"]),
        make("Unsqueeze", ["seen", "axes"], ["for_all"]),
        make("Where", ["for_all", "nothing", "masked"], ["mask"]),
        make("Add", ["scores", "mask"], ["found"]),
        make("Softmax", ["found"], ["soft"]),
        make("IsNaN", ["soft"], ["none"]),
        make("Where", ["none", "nothing", "soft"], ["parts"]),
        make("MatMul", ["parts", "query"], ["mixed"]),
        make("Transpose", ["mixed"], ["merged"], perm=TURN),
        make("Reshape", ["merged", "joined"], ["out"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [
            value("tokens", TensorProto.FLOAT, ["n", "l", 16]),
            value("seen", TensorProto.BOOL, ["n", "l"]),
        ],
        [value("out", TensorProto.FLOAT, ["n", "l", 16])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def result(model: Any) -> np.ndarray:
    import onnxruntime

    tokens = np.random.default_rng(0).standard_normal((3, 3, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, {"tokens": tokens, "seen": SEEN})[0]
    return found


def kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_an_attention_is_the_same_in_fewer_steps() -> None:
    """Also of a text of which nothing is seen: with the least number it has a softmax."""
    model = attention()
    before = result(model)
    assert np.isfinite(before).all()
    simplify(model)
    np.testing.assert_array_equal(result(model), before)
    left = kinds(model)
    assert (left["IsNaN"], left["Where"], left["Shape"], left["Slice"]) == (0, 1, 0, 0)
    assert left["Reshape"] == 2  # into heads, and out of them
    swapped = [list(n.attribute[0].ints) for n in model.graph.node if n.op_type == "Transpose"]
    assert sorted(swapped) == [[0, 1, 3, 2], TURN, TURN, TURN]
    assert {"any", "at0", "at9"}.isdisjoint(tensor.name for tensor in model.graph.initializer)


def test_where_a_mask_adds_minus_infinity_the_check_stays() -> None:
    """Of a text of which nothing is seen there is no softmax: 0 takes its place, as in torch."""
    model = attention(-np.inf)
    before = result(model)
    assert not before[2].any()
    simplify(model)
    np.testing.assert_array_equal(result(model), before)
    assert kinds(model)["IsNaN"] == 1


@pytest.mark.parametrize("change", [{"known": False}, {"turned": False}], ids=str)
def test_what_may_be_something_else_than_a_transposition_stays(change: dict[str, bool]) -> None:
    """Keys of a number of dimensions that is not known, and another shape than the swapped one."""
    model = attention(**change)
    before = result(model)
    simplify(model)
    np.testing.assert_array_equal(result(model), before)
    assert (kinds(model)["Slice"], kinds(model)["IsNaN"]) == (3, 0)


def test_a_graph_with_another_one_inside_stays_as_it_is() -> None:
    """The inner one uses values of the outer one, which its nodes do not name."""
    model = attention()
    inner = helper.make_graph(
        [helper.make_node("Identity", ["soft"], ["given"])],
        "inner",
        [],
        [helper.make_tensor_value_info("given", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["more"], then_branch=inner, else_branch=inner)
    )
    before = model.SerializeToString()
    simplify(model)
    assert model.SerializeToString() == before
