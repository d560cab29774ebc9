"""Graphs as files: what is left out of them, and where their weights go. Needs the package onnx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache.models.onnx.description import GRAPH, WEIGHTS

__all__ = ["graphs_of", "save", "strip"]

#: Bytes from which on a tensor is kept beside the graph.
_LARGE = 1024


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


def save(model: Any, folder: str | Path) -> list[str]:
    """Write a stripped `ModelProto` into `folder`, its weights beside it; the files' names."""
    import onnx

    strip(model)
    onnx.save_model(
        model,
        str(Path(folder, GRAPH)),
        save_as_external_data=True,
        location=WEIGHTS,
        size_threshold=_LARGE,
    )
    # A graph of a few small tensors has none beside it.
    return [name for name in (GRAPH, WEIGHTS) if Path(folder, name).exists()]
