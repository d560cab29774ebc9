"""A million vectors of real texts: exact beside numpy, and by the graph; with what each takes."""

from __future__ import annotations

import functools
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.children import call_in_child
from benchmarks.harness import Report, Target, in_turns, ratio, say, seconds_of
from benchmarks.real_texts import pieces, texts, vectors
from examples.real_model import real_model
from pytest_embedcache.search import VectorIndex

COUNT, QUICK = 1_000_000, 300
WHOLE = 150_000
QUERIES, QUICK_QUERIES = 200, 20
K = 10
ROUNDS = 5
NUMPY, EXACT, GRAPH = "numpy", "exact", "approximate"


def run(*, quick: bool = False) -> Report:
    count, asked = (QUICK, QUICK_QUERIES) if quick else (COUNT, QUERIES)
    report = Report(
        f"search_million: the {K} nearest of {count:,}",
        ("ms", "of numpy", "recall@10", "made in s", "on the disk, MB", "in memory, MB"),
    )
    with real_model():
        whole = texts(QUICK if quick else WHOLE)
        matrix = vectors(pieces(whole, count + asked), say)
    # Spread over both kinds of text, and not among what is searched.
    chosen = np.zeros(len(matrix), bool)
    chosen[np.linspace(0, len(matrix) - 1, asked).astype(int)] = True
    queries, matrix = matrix[chosen], np.ascontiguousarray(matrix[~chosen])
    with tempfile.TemporaryDirectory() as folder:
        say("storing")
        path = Path(folder, "index")
        made = {EXACT: seconds_of(lambda: _store(path, matrix))}
        exact = VectorIndex.open(path, vector_backend="exact")
        size = {EXACT: exact.stats().bytes}
        say("making the graph")
        graph = VectorIndex.open(path, vector_backend="approximate")
        made[GRAPH] = seconds_of(graph.rebuild)
        assert graph.stats().backend == GRAPH, graph.stats().reason
        size[GRAPH] = graph.stats().bytes - size[EXACT]
        searches = {
            NUMPY: functools.partial(_numpy, matrix),
            EXACT: lambda query: [hit.id for hit in exact.search(query, K)],
            GRAPH: lambda query: [hit.id for hit in graph.search(query, K)],
        }
        # Also the first touch of every page.
        found = {n: [search(query) for query in queries] for n, search in searches.items()}
        cases = {n: functools.partial(_each, search, queries) for n, search in searches.items()}
        samples = in_turns(cases, 2 if quick else ROUNDS, progress=None if quick else say)
        np.save(Path(folder, "queries.npy"), queries)
        memory = {
            name: json.loads(call_in_child(__name__, name, str(path), f"{folder}/queries.npy"))
            for name in (EXACT, GRAPH)
        }
    # The score that belongs among the ten: of texts that differ in a capital letter alone the
    # vectors are the same, and any of them is right.
    enough = [float(np.partition(matrix @ query, -K)[-K]) - 1e-6 for query in queries]
    recall = {n: _recall(found[n], matrix, queries, enough) for n in found}
    for name, seconds in samples.items():
        times = ratio(seconds, samples[NUMPY])[0]
        cells = [f"{statistics.median(seconds) * 1e3:.2f}", f"{times:.3f} x", f"{recall[name]:.4f}"]
        if name in made:
            taken = memory[name]
            cells += [f"{made[name]:.1f}", f"{size[name] / 1e6:.0f}"]
            cells.append(f"{taken['own']:.0f} and {taken['mapped']:.0f} mapped")
        report.row(name, *cells, *[""] * (len(report.columns) - len(cells)))
    times, low, high = ratio(samples[EXACT], samples[NUMPY])
    report.targets += [
        Target("exact, against numpy", 1.3, times, "times", interval=(low, high)),
        Target(
            "approximate, against exact", 0.1, ratio(samples[GRAPH], samples[EXACT])[0], "times"
        ),
        Target("recall@10, approximate", 0.99, recall[GRAPH], "", at_least=True),
        Target("recall@10, exact", 1.0, recall[EXACT], "", at_least=True),
    ]
    report.notes += [
        f"Medians of {2 if quick else ROUNDS} rounds in turns, {asked} queries each. The vectors "
        "are the real model's, of whole sentences and runs of words from docstrings and Debian's "
        "descriptions; the queries are such pieces, too, and not among what is searched.",
        "In memory: of a process that has asked all queries, its own, and pages of the index's "
        "files, which the system can take back. What the graph takes on the disk is on top of the "
        "rows, from which it computes its distances.",
    ]
    return report


def _store(path: Path, matrix: np.ndarray) -> None:
    with VectorIndex.open(path, dimension=matrix.shape[1], vector_backend="exact") as index:
        for first in range(0, len(matrix), 50_000):
            part = matrix[first : first + 50_000]
            index.add(np.arange(first, first + len(part)), part)


def _numpy(matrix: np.ndarray, query: np.ndarray) -> list[int]:
    scores = matrix @ query
    top = np.argpartition(scores, -K)[-K:]
    return [int(row) for row in top[np.argsort(-scores[top])]]


def _each(search: functools.partial[list[int]], queries: np.ndarray) -> float:
    def all_of_them() -> None:
        for query in queries:
            search(query)

    return seconds_of(all_of_them) / len(queries)


def _recall(
    found: list[list[int]], matrix: np.ndarray, queries: np.ndarray, enough: list[float]
) -> float:
    right = sum(
        int(np.count_nonzero(matrix[sorted(set(rows))] @ query >= score))
        for rows, query, score in zip(found, queries, enough, strict=True)
    )
    return right / (K * len(queries))


def main(backend: str, path: str, queries: str) -> None:
    """In a fresh process: search, and print what it takes then, in MB."""
    index = VectorIndex.open(path, vector_backend=backend)
    for query in np.load(queries):
        index.search(query, K)
    taken = {"own": 0.0, "mapped": 0.0}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile"):
            taken["own" if name == "RssAnon" else "mapped"] = int(value.split()[0]) * 1024 / 1e6
    print(json.dumps(taken))
