"""Graphs as files: what is left out of them, and where their weights go. Needs the package onnx."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache.models.onnx.description import GRAPH, WEIGHTS

__all__ = ["LARGE", "graphs_of", "load", "save", "strip", "write_in_pieces"]

#: Bytes from which on a tensor is kept beside the graph.
LARGE = 1024
#: Bytes that are written at once. What is written at once is kept, and mapped, as a whole: of a
#: table of embeddings, of which a text needs a few rows, a process would have the most.
_PIECE = 65_536
#: Of a tensor's entries, those that say where it lies as an operator wants it (`packing`).
_ARRANGED = "prepacked_"


def strip(model: Any) -> None:
    """Take out of a `ModelProto` what nobody reads: who made it where, line by line."""
    model.doc_string = ""
    del model.metadata_props[:]
    model.producer_name = model.producer_version = ""
    for graph in graphs_of(model.graph):
        graph.doc_string = ""
        del graph.value_info[:]
        for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
            part.doc_string = ""
            del part.metadata_props[:]


def graphs_of(graph: Any) -> Iterator[Any]:
    """The graph, and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from graphs_of(inner)


def load(folder: str | Path) -> Any:
    """The `ModelProto` in `folder` with its weights, as they were before any arrangement."""
    import onnx

    model = onnx.load(str(Path(folder, GRAPH)), load_external_data=False)
    for tensor in model.graph.initializer:
        kept = [entry for entry in tensor.external_data if not entry.key.startswith(_ARRANGED)]
        if len(kept) < len(tensor.external_data):  # which the package onnx does not know
            del tensor.external_data[:]
            tensor.external_data.extend(kept)
    onnx.load_external_data_for_model(model, str(folder))
    return model


def save(model: Any, folder: str | Path) -> list[str]:
    """Write a stripped `ModelProto` into `folder`, its weights beside it; the files' names."""
    import onnx

    strip(model)
    onnx.save_model(
        model,
        str(Path(folder, GRAPH)),
        save_as_external_data=True,
        location=WEIGHTS,
        size_threshold=LARGE,
    )
    # A graph of a few small tensors has none beside it.
    files = [name for name in (GRAPH, WEIGHTS) if Path(folder, name).exists()]
    if WEIGHTS in files:
        write_in_pieces(Path(folder, WEIGHTS))
    return files


def write_in_pieces(file: Path) -> None:
    """Write a file anew, a little at a time."""
    again = file.with_name(f"{file.name}.again")
    with open(file, "rb") as source, open(again, "wb", buffering=0) as target:
        while piece := source.read(_PIECE):
            target.write(piece)
    os.replace(again, file)
