"""Which approximate search: graphs and cells of usearch and faiss, in several precisions."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.harness import Report, in_turns, say, seconds_of
from benchmarks.real_texts import pieces, texts, vectors
from examples.real_model import real_model
from pytest_embedcache.models.resources import usable_cores

COUNT, QUICK = 100_000, 300
QUERIES = 200
K = 10
#: Candidates that are asked for; their distances are computed again, and the first ten taken.
CANDIDATES = 26
ROUNDS = 7
Ask = Callable[[np.ndarray], np.ndarray]


def run(*, quick: bool = False) -> Report:
    count, asked = (QUICK, 20) if quick else (COUNT, QUERIES)
    with real_model():
        matrix = vectors(pieces(texts(count), count + asked), say)
    return measure(matrix, asked, 2 if quick else ROUNDS)


def measure(matrix: np.ndarray, asked: int, rounds: int) -> Report:
    """The last column is of all neighbours that numpy finds."""
    chosen = np.zeros(len(matrix), bool)
    chosen[np.linspace(0, len(matrix) - 1, asked).astype(int)] = True
    queries, matrix = matrix[chosen], np.ascontiguousarray(matrix[~chosen])
    report = Report(
        f"search_graphs: the {K} nearest of {len(matrix):,}, approximately",
        ("made in s", "ms", f"recall@{K}"),
    )
    right = [set(_first(matrix, np.arange(len(matrix)), query)) for query in queries]
    asks: dict[str, Ask] = {"numpy": lambda query: np.argpartition(matrix @ query, -K)[-K:]}
    made: dict[str, float] = {}
    for name, make in _makers():
        found: dict[str, Any] = {}
        made[name] = seconds_of(lambda make=make, found=found: found.update(make(matrix)))  # type: ignore[misc]
        asks |= {f"{name}, {how}": ask for how, ask in found.items()}
        say(f"{name}: {made[name]:.1f} s")
    found_by = {
        name: [set(_first(matrix, ask(query), query)) for query in queries]
        for name, ask in asks.items()
    }
    cases = {n: functools.partial(_each, a, matrix, queries) for n, a in asks.items()}
    samples = in_turns(cases, rounds)
    for name, seconds in samples.items():
        recall = sum(len(a & b) for a, b in zip(found_by[name], right, strict=True)) / K / asked
        took = made.get(name.rpartition(", ")[0])
        report.row(
            name,
            "" if took is None else f"{took:.1f}",
            f"{statistics.median(seconds) * 1e3:.2f}",
            f"{recall:.4f}",
        )
    report.notes.append(
        f"Medians of {rounds} rounds in turns, {asked} queries each; made on {usable_cores()} "
        f"threads. Of {CANDIDATES} candidates the distances are computed in float32 from the "
        "vectors, which is in the time. The vectors are the real model's, of pieces of texts."
    )
    for package in ("usearch", "faiss"):
        if find_spec(package) is None:
            report.notes.append(f"{package}: skipped, it is not installed.")
    return report


def _first(matrix: np.ndarray, rows: np.ndarray, query: np.ndarray) -> list[int]:
    rows = rows[rows >= 0]
    return [int(row) for row in rows[np.argsort(-(matrix[rows] @ query))[:K]]]


def _each(ask: Ask, matrix: np.ndarray, queries: np.ndarray) -> float:
    def all_of_them() -> None:
        for query in queries:
            _first(matrix, ask(query), query)

    return seconds_of(all_of_them) / len(queries)


def _makers() -> Iterator[tuple[str, Callable[[np.ndarray], dict[str, Ask]]]]:
    if find_spec("usearch") is not None:
        for dtype in ("f16", "i8"):
            yield f"usearch, {dtype}", functools.partial(_usearch, dtype=dtype)
    if find_spec("faiss") is not None:
        for kind in ("HNSW f32", "HNSW f16", "IVF f16"):
            yield f"faiss, {kind}", functools.partial(_faiss, kind=kind)


def _usearch(matrix: np.ndarray, dtype: str) -> dict[str, Ask]:
    from usearch.index import Index

    graph = Index(
        ndim=matrix.shape[1], metric="ip", dtype=dtype, connectivity=16, expansion_add=128
    )
    graph.add(np.arange(len(matrix), dtype=np.uint64), matrix, threads=usable_cores())

    def ask(query: np.ndarray, looked_at: int) -> np.ndarray:
        graph.expansion_search = looked_at
        return graph.search(query, CANDIDATES).keys.astype(np.int64)

    return {f"{n} looked at": functools.partial(ask, looked_at=n) for n in (128, 256, 512)}


def _faiss(matrix: np.ndarray, kind: str) -> dict[str, Ask]:
    import faiss

    # Not by faiss.index_factory: beside usearch it ends the process (faiss-cpu 1.15.1).
    dimension, half = matrix.shape[1], faiss.ScalarQuantizer.QT_fp16
    product = faiss.METRIC_INNER_PRODUCT
    if kind == "HNSW f32":
        index = faiss.IndexHNSWFlat(dimension, 16, product)
    elif kind == "HNSW f16":
        index = faiss.IndexHNSWSQ(dimension, half, 16, product)
    else:
        # As many cells as its authors advise for so few: 4 times the square root.
        cells = max(1, min(int(4 * len(matrix) ** 0.5), len(matrix) // 40))
        coarse = faiss.IndexFlatIP(dimension)
        index = faiss.IndexIVFScalarQuantizer(coarse, dimension, cells, half, product)
    faiss.omp_set_num_threads(usable_cores())
    if kind.startswith("HNSW"):
        index.hnsw.efConstruction = 128
    index.train(matrix)
    index.add(matrix)

    def ask(query: np.ndarray, looked_at: int) -> np.ndarray:
        if kind.startswith("HNSW"):
            index.hnsw.efSearch = looked_at
        else:
            index.nprobe = looked_at
        return index.search(query[None], CANDIDATES)[1][0]

    if kind.startswith("HNSW"):
        return {f"{n} looked at": functools.partial(ask, looked_at=n) for n in (128, 256, 512)}
    return {f"{n} cells": functools.partial(ask, looked_at=n) for n in (16, 32, 64)}
