"""What an exporter writes to be on the safe side, and an attention does not need: the same numbers
in fewer steps. Needs the package onnx.

torch.onnx writes `scaled_dot_product_attention` out, for tensors of any shape and masks of any
numbers (`_aten_scaled_dot_product_attention…` in
https://github.com/microsoft/onnxscript/blob/main/onnxscript/function_libs/torch_lib/ops/nn.py).
"""

from __future__ import annotations

from typing import Any

from pytest_embedcache.models.onnx.graph import graphs_of

__all__ = ["simplify"]


def simplify(model: Any) -> None:
    """Rewrite the attentions of a `ModelProto` in place. What is not as expected is left alone."""
    if len(list(graphs_of(model.graph))) > 1:
        return  # those inside use values of this one
    graph = _Graph(model.graph)
    replaced = {}
    for node in graph.nodes:
        if (same := _without_check(graph, node)) is not None:
            replaced[node.output[0]] = same
    for node in graph.nodes:
        for place, name in enumerate(node.input):
            node.input[place] = replaced.get(name, name)
    nodes = [_swapped(graph, node) or node for node in graph.nodes]
    graph.keep_what_is_needed(nodes)


class _Graph:
    """Looks up what makes a value."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.nodes = list(graph.node)
        self._makers = {output: node for node in self.nodes for output in node.output}
        self._weights = {tensor.name: tensor for tensor in graph.initializer}

    def maker(self, name: str, kind: str) -> Any:
        """The node of this kind that makes the value; None where another does."""
        found = self._makers.get(name)
        return found if found is not None and found.op_type == kind else None

    def is_finite(self, name: str) -> bool:
        """Whether it is a constant of the graph's own, and all its numbers are finite."""
        import numpy as np
        from onnx import TensorProto, numpy_helper

        tensor = self._weights.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return False
        return bool(np.isfinite(numpy_helper.to_array(tensor)).all())

    def keep_what_is_needed(self, nodes: list[Any]) -> None:
        """Make `nodes` the graph's, without those, and without weights, that nothing uses."""
        needed = {output.name for output in self.graph.output}
        kept = []
        for node in reversed(nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        weights = [tensor for tensor in self.graph.initializer if tensor.name in needed]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(reversed(kept))
        self.graph.initializer.extend(weights)


def _without_check(graph: _Graph, node: Any) -> str | None:
    """The softmax, where `node` only replaces its results that are not a number.

    Such are those of a token that may see none, if a mask adds minus infinity. Where it adds the
    least number, as transformers does, there are none.
    """
    if node.op_type != "Where":
        return None
    softmax = graph.maker(node.input[2], "Softmax")
    check = graph.maker(node.input[0], "IsNaN")
    if softmax is None or check is None or check.input[0] != node.input[2]:
        return None
    masked = graph.maker(softmax.input[0], "Add")
    if masked is not None:
        mask = graph.maker(masked.input[1], "Where")
        if mask is None or not all(map(graph.is_finite, mask.input[1:])):
            return None
        scores = graph.maker(masked.input[0], "MatMul")
    else:
        scores = graph.maker(softmax.input[0], "MatMul")
    return None if scores is None else str(node.input[2])


def _swapped(graph: _Graph, node: Any) -> Any:
    """One transposition, where `node` is the end of one by way of three dimensions."""
    from onnx import helper

    flat = _reshaped(graph, node)
    transposed = None if flat is None else graph.maker(node.input[0], "Transpose")
    if flat is None or transposed is None or _axes(transposed) != [0, 2, 1]:
        return None
    first = graph.maker(transposed.input[0], "Reshape")
    before = None if first is None else _reshaped(graph, first)
    if before is None or len(before) != 3 or flat[-2:] != [before[2], before[1]]:
        return None
    source = graph.maker(first.input[0], "Transpose")
    if source is None or len(_axes(source)) != 4:  # it tells how many dimensions there are
        return None
    for name in (*flat[:1], *before[1:]):
        part = graph.maker(name, "Slice")
        shape = None if part is None else graph.maker(part.input[0], "Shape")
        if shape is None or shape.input[0] != first.input[0]:
            return None
    return helper.make_node(
        "Transpose", [first.input[0]], list(node.output), name=node.name, perm=[0, 1, 3, 2]
    )


def _reshaped(graph: _Graph, node: Any) -> list[str] | None:
    """The parts of the shape that a Reshape gives, where it is put together."""
    joined = graph.maker(node.input[1], "Concat") if node.op_type == "Reshape" else None
    return None if joined is None else list(joined.input)


def _axes(node: Any) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
