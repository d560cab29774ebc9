"""Weights as the processor wants them, in the file: arranged once, and mapped by every process.

ONNX Runtime writes what its operators arranged beside the weights, under the hash of what was
arranged (`session.save_external_prepacked_constant_initializers`,
https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/onnxruntime_session_options_config_keys.h).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pytest_embedcache.models.onnx.description import GRAPH, WEIGHTS
from pytest_embedcache.models.onnx.graph import LARGE, strip, write_in_pieces

__all__ = ["pack"]


def pack(folder: Path) -> None:
    """Add to the weights in `folder` their arrangement for this machine. Needs the package onnx.

    A process arranges the weights itself when it loads them, and takes the file's arrangement in
    place of its own where the hashes are equal. Of another processor, another version, or other
    weights none is found, and the process keeps its own: it is never a wrong one.
    """
    import onnx
    import onnxruntime

    if not (folder / WEIGHTS).exists():
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # As exported: what is optimized depends on the processor, and small forms start from this.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory(dir=folder) as made:
        written = Path(made, GRAPH)
        options.optimized_model_filepath = str(written)
        for name, value in (
            ("session.optimized_model_external_initializers_file_name", WEIGHTS),
            ("session.optimized_model_external_initializers_min_size_in_bytes", str(LARGE)),
            ("session.save_external_prepacked_constant_initializers", "1"),
        ):
            options.add_session_config_entry(name, value)
        onnxruntime.InferenceSession(
            str(folder / GRAPH), sess_options=options, providers=["CPUExecutionProvider"]
        )
        before = onnx.load(str(folder / GRAPH), load_external_data=False)
        after = onnx.load(str(written), load_external_data=False)
        strip(after)
        del after.opset_import[:]  # all that it knows
        after.opset_import.extend(before.opset_import)
        weights = written.with_name(WEIGHTS)
        if weights.exists():
            write_in_pieces(weights)
            os.replace(weights, folder / WEIGHTS)
        (folder / GRAPH).write_bytes(after.SerializeToString())
