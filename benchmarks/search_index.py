"""A search without its query's encoding: every backend, numpy, and what else does it."""

from __future__ import annotations

import functools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Report, Samples, Target, in_turns, say, seconds_of
from benchmarks.real_texts import texts, vectors
from examples.real_model import real_model
from pytest_embedcache.search import VectorIndex, loadable

SIZES, QUICK_SIZES = (1_000, 10_000, 50_000), (50, 200)
K = 10
#: Queries of one measurement; each is another one, so that none is answered from a cache.
QUERIES = 50
ROUNDS = 15
NUMPY, EXACT, SQLITE_VEC = "numpy", "ours, exact", "ours, sqlite-vec"
Search = Callable[[np.ndarray], object]


def run(*, quick: bool = False) -> Report:
    sizes = QUICK_SIZES if quick else SIZES
    report = Report(
        f"search_index: the {K} nearest of so many real texts",
        (*(f"{size:,}, ms" for size in sizes), f"storing {sizes[-1]:,}, s"),
    )
    with real_model():
        say(f"{sizes[-1] + QUERIES:,} texts and their vectors (kept in EMBEDCACHE_DIR, if set)")
        matrix = vectors(texts(sizes[-1] + QUERIES), say)
    # The queries are of the same kind, and not among what is searched.
    queries, matrix = matrix[:QUERIES], np.ascontiguousarray(matrix[QUERIES:])
    samples: dict[int, Samples] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            searches = {
                name: make(Path(folder, f"{name} {size}"), matrix[:size])
                for name, make in _contenders(report, size == sizes[0])
            }
            cases = {n: functools.partial(_each, s, queries) for n, s in searches.items()}
            for case in cases.values():
                case()
            samples[size] = in_turns(cases, 3 if quick else ROUNDS)
            say(f"{size:,} done")
        stored = _building(matrix[: sizes[-1]], Path(folder), 1 if quick else 5)
    for name in samples[sizes[0]]:
        cells = [f"{statistics.median(samples[size][name]) * 1e3:.3f}" for size in sizes]
        took = f"{statistics.median(stored[name]):.2f}" if name in stored else ""
        report.row(name, *cells, took)
    report.targets += _targets(samples, stored, sizes)
    report.notes += [
        f"Medians of {3 if quick else ROUNDS} rounds in turns, {len(queries)} queries each, all "
        "threads that each takes by itself. The texts are docstrings and Debian's descriptions, "
        "the vectors those of the real model; queries are such texts, too.",
        "numpy: a product, argpartition and a sort of ten. Ours looks besides whether somebody "
        "has changed the index, and computes the distances of what it returns in float64.",
        "Storing: given vectors into an index on the disk, durably (ours), into a database with "
        "one transaction (sqlite-vec), or into memory (the others).",
    ]
    return report


def _each(search: Search, queries: np.ndarray) -> float:
    def all_of_them() -> None:
        for query in queries:
            search(query)

    return seconds_of(all_of_them) / len(queries)


def _contenders(report: Report, first: bool) -> Iterator[tuple[str, Callable[..., Search]]]:
    yield NUMPY, _numpy
    yield EXACT, functools.partial(_ours, backend="exact")
    missing = loadable.unavailable()
    if missing is None:
        yield SQLITE_VEC, functools.partial(_ours, backend="sqlite-vec")
        yield f"sqlite-vec {version('sqlite-vec')}", _sqlite_vec
    elif first:
        report.notes.append(f"sqlite-vec: skipped, {missing}.")
    for name, module, package, make in (
        ("faiss flat", "faiss", "faiss-cpu", _faiss),
        ("usearch exact", "usearch", "usearch", _usearch),
    ):
        if find_spec(module) is not None:
            yield f"{name} {version(package)}", make
        elif first:
            report.notes.append(f"{package}: skipped, it is not installed.")


def _numpy(folder: Path, matrix: np.ndarray) -> Search:
    def search(query: np.ndarray) -> np.ndarray:
        scores = matrix @ query
        top = np.argpartition(scores, -K)[-K:]
        return top[np.argsort(-scores[top])]

    return search


def _ours(folder: Path, matrix: np.ndarray, backend: str) -> Search:
    index = VectorIndex.open(folder, dimension=matrix.shape[1], vector_backend=backend)
    index.add(np.arange(len(matrix)), matrix)
    assert index.stats().backend == backend, index.stats().reason
    return lambda query: index.search(query, K)


def _sqlite_vec(folder: Path, matrix: np.ndarray) -> Search:
    folder.mkdir()
    connection: Any = loadable.connect(folder / "direct.sqlite", create=True)
    connection.execute(f"CREATE VIRTUAL TABLE v USING vec0(e float[{matrix.shape[1]}])")
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO v(rowid, e) VALUES (?, ?)",
        ((number, row.tobytes()) for number, row in enumerate(matrix)),
    )
    connection.execute("COMMIT")
    asked = "SELECT rowid, distance FROM v WHERE e MATCH ? AND k = ? ORDER BY distance"
    return lambda query: list(connection.execute(asked, (query.tobytes(), K)))


def _faiss(folder: Path, matrix: np.ndarray) -> Search:
    import faiss

    index = faiss.IndexFlatIP(matrix.shape[1])
    index.add(matrix)
    return lambda query: index.search(query[None], K)


def _usearch(folder: Path, matrix: np.ndarray) -> Search:
    from usearch.index import search

    return lambda query: search(matrix, query, K, "ip", exact=True)


def _building(matrix: np.ndarray, folder: Path, rounds: int) -> Samples:
    cases: dict[str, Callable[[], float]] = {}
    for name, make in _contenders(Report("", ()), False):
        if name != NUMPY and not name.startswith("usearch"):  # which store nothing
            places = iter([folder / f"{name} stored {number}" for number in range(rounds)])
            cases[name] = functools.partial(_stored, make, places, matrix)
    return in_turns(cases, rounds, progress=say)


def _stored(make: Callable[..., Search], places: Iterator[Path], matrix: np.ndarray) -> float:
    return seconds_of(lambda: make(next(places), matrix))


def _targets(
    samples: Mapping[int, Samples], stored: Samples, sizes: tuple[int, ...]
) -> Iterator[Target]:
    for size in sizes:
        ours, bare = (statistics.median(samples[size][name]) * 1e3 for name in (EXACT, NUMPY))
        what = f"{EXACT} at {size:,}, beyond 1.5 times numpy"
        yield Target(what, 0.1, ours - 1.5 * bare, "ms")
    yield Target(f"storing {sizes[-1]:,}, exact", 1.0, statistics.median(stored[EXACT]), "s")
