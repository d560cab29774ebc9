"""The backend for very many vectors: a graph that is walked, made by usearch."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any, Self

import numpy as np

from pytest_embedcache.files import read_json, write_json
from pytest_embedcache.installed import is_installed
from pytest_embedcache.models.resources import usable_cores
from pytest_embedcache.search.lifting import lift
from pytest_embedcache.search.manifest import stamp
from pytest_embedcache.search.view import View

__all__ = ["Approximate"]

#: Of the graph: neighbours of a node, and how many are looked at when it is made and walked.
CONNECTIVITY, WHEN_ADDING, WHEN_SEARCHING = 16, 128, 512
#: How the graph keeps vectors.
DTYPE = "f16"
_BATCH = 8192


class Approximate:
    """A graph of all rows of a generation at the time that it was made."""

    name = "approximate"
    is_exact = False
    saves_memory = False
    limit = 1 << 20

    def __init__(self, graph: Any, covered: int, dimension: int) -> None:
        self._graph = graph
        self.covered = covered
        # Of half precision, 2**-11 of each number; the errors of many numbers cancel.
        self.error = 4 * 2.0**-11 / math.sqrt(dimension)

    @classmethod
    def open(cls, directory: Path, generation: str) -> Self:
        """The graph in a file, mapped; raises `OSError` where there is none that can be used."""
        path = directory / f"graph-{generation}.usearch"
        told = read_json(path.with_suffix(".json"))
        if told is None:
            raise FileNotFoundError(f"{path.name} is not there")
        if not isinstance(told, dict) or not {"bytes", "dimension", "covered"} <= told.keys():
            raise OSError(f"{path.with_suffix('.json').name} does not describe a graph")
        if stamp(path)[0] != told["bytes"]:
            raise OSError(f"{path.name} has not the length it was written with")
        graph = _graph(told["dimension"])
        try:
            graph.view(str(path))
        except Exception as error:  # usearch raises RuntimeError, and ValueError
            raise OSError(f"{path.name}: {error}") from error
        return cls(graph, told["covered"], told["dimension"])

    @classmethod
    def make(cls, directory: Path, view: View) -> Self:
        """Make the graph of all rows of a view. Raises `OSError`."""
        manifest = view.manifest
        path = directory / f"graph-{manifest.generation}.usearch"
        graph = _graph(manifest.dimension + 1)
        bound = 1.0 if manifest.metric == "cosine" else view.longest
        for first in range(0, manifest.rows, _BATCH):
            part = slice(first, first + _BATCH)
            vectors = lift(view.matrix[part], view.norms[part], manifest.metric, bound)
            keys = np.arange(first, first + len(vectors), dtype=np.uint64)
            graph.add(keys, vectors, threads=usable_cores())
        try:
            graph.save(str(path))
        except Exception as error:
            raise OSError(f"{path.name}: {error}") from error
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        # Last, so that a graph which is told of is whole.
        write_json(
            path.with_suffix(".json"),
            {
                "bytes": stamp(path)[0],
                "covered": manifest.rows,
                "dimension": manifest.dimension + 1,
            },
        )
        return cls(graph, manifest.rows, manifest.dimension + 1)

    def refresh(self) -> None:
        pass  # it is made once

    def nearest(self, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        found = self._graph.search(query, count)
        return found.keys.astype(np.int64), 1.0 - found.distances

    def close(self) -> None:
        pass  # the graph goes with its last user, which may be searching in another thread


def _graph(dimension: int) -> Any:
    # Where usearch (2.26) comes first, the import of onnxruntime (1.32) ends the process with a
    # segmentation fault; the other way round both work.
    if is_installed("onnxruntime"):
        with contextlib.suppress(Exception):  # one that cannot be imported harms nobody
            import onnxruntime  # noqa: F401
    from usearch.index import Index

    return Index(
        ndim=dimension,
        metric="ip",
        dtype=DTYPE,
        connectivity=CONNECTIVITY,
        expansion_add=WHEN_ADDING,
        expansion_search=WHEN_SEARCHING,
    )
