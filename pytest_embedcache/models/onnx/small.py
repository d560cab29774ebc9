"""Small forms of an export: its weights in 8 bits. Runs in a process of its own; needs onnx.

    int8           weights in blocks of 32, each with its scale; activations are quantized in the
                   same blocks, token by token, so a text's vector is its own
    int8-dynamic   weights by column; activations with one scale for the whole batch, which is why
                   each text is computed by itself

Embedding tables are 8 bits by row in both. The operators are those of
https://onnx.ai/onnx/operators/ and, for MatMulNBits,
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.onnx.child import RefusedError
from pytest_embedcache.models.onnx.description import DESCRIPTION, TOKENIZER, Description
from pytest_embedcache.models.onnx.graph import load, save
from pytest_embedcache.models.onnx.model import OnnxModel
from pytest_embedcache.models.onnx.verify import agreement

if TYPE_CHECKING:
    import numpy as np

__all__ = ["make_small", "shrink"]

#: Numbers of a tensor from which on it is worth it.
_ENOUGH = 512
_BLOCK = 32
#: Of the operator: activations are quantized to 8 bits as well, block by block.
_ACCURACY_LEVEL = 4
#: By column, half of the range: without VNNI a processor adds two products in 16 bits.
_REDUCED = 64


def make_small(
    stage: Callable[[str], object], source: str, folder: str, form: str, fingerprint: str
) -> dict[str, Any]:
    """Write into `folder` a small form of the export in `source`, and measure it against that.

    Returns the names of the `files`, and the `details` of the agreement. Raises `RefusedError`
    where nothing in the graph can be made small.
    """
    stage("quantizing it")
    model = load(source)
    shrink(model, form)
    target = Path(folder)
    files = [DESCRIPTION, TOKENIZER, *save(model, target)]
    (target / TOKENIZER).write_bytes(Path(source, TOKENIZER).read_bytes())
    described = Description.read(source)
    alone = form == "int8-dynamic"
    replace(described, form=form, fingerprint=fingerprint, alone=alone).write(target)
    stage("measuring its agreement")
    return {"files": files, "details": agreement(OnnxModel(source), OnnxModel(target))}


def shrink(model: Any, form: str) -> None:
    """Replace the large weights of a `ModelProto` by their small form. Raises `RefusedError`."""
    shrinker = _Shrinker(model)
    shrinker.shrink(_by_column if form == "int8-dynamic" else _by_block)
    if not shrinker.replaced:
        raise RefusedError("its graph has no weights that could be made small")


class _Shrinker:
    """Rewrites one graph, node by node.

    Attribute: `replaced`, the names of the weights that are gone.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.graph = model.graph
        self.replaced: set[str] = set()
        self._weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self._uses = Counter(name for node in self.graph.node for name in node.input)
        self._nodes: list[Any] = []
        self._made: dict[str, tuple[str, ...]] = {}

    def shrink(self, matmul: Callable[[_Shrinker, Any, np.ndarray], None]) -> None:
        for node in list(self.graph.node):
            if node.op_type == "Gather" and (table := self._table(node)) is not None:
                _by_row(self, node, table)
            elif node.op_type in ("MatMul", "Gemm") and (matrix := self._matrix(node)) is not None:
                matmul(self, node, matrix)
            else:
                self._nodes.append(node)
        kept = [tensor for tensor in self.graph.initializer if tensor.name not in self.replaced]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self._nodes)
        self.graph.initializer.extend(kept)

    def add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """A node."""
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def constant(self, name: str, array: np.ndarray) -> str:
        """A weight; returns its name."""
        from onnx import numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def once(self, name: str, make: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """What was made under this name, or is made now: nodes that several others need."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def extend_operators(self) -> None:
        """Say that operators of ONNX Runtime's own are used."""
        from onnx import helper

        if not any(entry.domain == "com.microsoft" for entry in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    def _large(self, name: str, node: Any) -> np.ndarray | None:
        from onnx import TensorProto, numpy_helper

        tensor = self._weights.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            return None
        if tensor.dims[0] * tensor.dims[1] < _ENOUGH or self._uses[name] > 1:
            return None
        self.replaced.add(name)
        found: np.ndarray = numpy_helper.to_array(tensor)
        return found

    def _table(self, node: Any) -> np.ndarray | None:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        return self._large(node.input[0], node) if axis == 0 else None

    def _matrix(self, node: Any) -> np.ndarray | None:
        """The constant right side, as (inputs, outputs)."""
        options = {a.name: a for a in node.attribute}
        if any(name in options and options[name].f != 1.0 for name in ("alpha", "beta")):
            return None
        if "transA" in options and options["transA"].i:
            return None
        found = self._large(node.input[1], node)
        if found is not None and "transB" in options and options["transB"].i:
            return found.T
        return found


def _by_row(shrinker: _Shrinker, node: Any, table: np.ndarray) -> None:
    """An embedding table: a row's scale is looked up with it."""
    import numpy as np
    from onnx import TensorProto

    name, ids, (output,) = node.input[0], node.input[1], node.output
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127
    rows = np.rint(table / scale).astype(np.int8)
    shrinker.add("Gather", [shrinker.constant(f"{name}.q", rows), ids], [f"{output}.rows"], axis=0)
    shrinker.add("Cast", [f"{output}.rows"], [f"{output}.wide"], to=TensorProto.FLOAT)
    scales = shrinker.constant(f"{name}.s", scale.astype(np.float32))
    shrinker.add("Gather", [scales, ids], [f"{output}.scales"], axis=0)
    shrinker.add("Mul", [f"{output}.wide", f"{output}.scales"], [output])


def _by_block(shrinker: _Shrinker, node: Any, matrix: np.ndarray) -> None:
    import numpy as np

    count, outputs = matrix.shape
    blocks = -(-count // _BLOCK)
    padded = np.zeros((outputs, blocks * _BLOCK), np.float32)
    padded[:, :count] = matrix.T
    parts = padded.reshape(outputs, blocks, _BLOCK)
    scale = np.maximum(np.abs(parts).max(axis=2, keepdims=True), 1e-12) / 127
    bytes_ = (np.rint(parts / scale) + 128).astype(np.uint8)
    name = node.input[1]
    weights = shrinker.constant(f"{name}.q", bytes_)
    scales = shrinker.constant(f"{name}.s", scale.astype(np.float32).reshape(-1))
    shrinker.extend_operators()
    product = _product(node)
    shrinker.add(
        "MatMulNBits",
        [node.input[0], weights, scales],
        [product],
        domain="com.microsoft",
        K=count,
        N=outputs,
        bits=8,
        block_size=_BLOCK,
        accuracy_level=_ACCURACY_LEVEL,
    )
    _add_bias(shrinker, node, product)


def _by_column(shrinker: _Shrinker, node: Any, matrix: np.ndarray) -> None:
    import numpy as np
    from onnx import TensorProto

    left, name = node.input[0], node.input[1]

    def quantize() -> tuple[str, ...]:
        parts = (f"{left}.q", f"{left}.scale", f"{left}.zero")
        shrinker.add("DynamicQuantizeLinear", [left], list(parts))
        return parts

    quantized, left_scale, zero = shrinker.once(left, quantize)
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12) / _REDUCED
    weights = shrinker.constant(f"{name}.q", np.rint(matrix / scale).astype(np.int8))
    scales = shrinker.constant(f"{name}.s", scale.astype(np.float32))
    product = _product(node)
    shrinker.add("MatMulInteger", [quantized, weights, zero], [f"{product}.i"])
    shrinker.add("Cast", [f"{product}.i"], [f"{product}.f"], to=TensorProto.FLOAT)
    shrinker.add("Mul", [left_scale, scales], [f"{product}.s"])
    shrinker.add("Mul", [f"{product}.f", f"{product}.s"], [product])
    _add_bias(shrinker, node, product)


def _product(node: Any) -> str:
    """The name of the product: the node's output, unless something is added to it."""
    return f"{node.output[0]}.p" if len(node.input) > 2 else str(node.output[0])


def _add_bias(shrinker: _Shrinker, node: Any, product: str) -> None:
    if len(node.input) > 2:  # Gemm's third
        shrinker.add("Add", [product, node.input[2]], [node.output[0]])
