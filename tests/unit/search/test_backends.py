"""Which backend answers, and what happens where it cannot."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from support.usearch import needs_usearch

from pytest_embedcache import notices
from pytest_embedcache.search import VectorIndex, loadable
from pytest_embedcache.search.choice import choose

RANDOM = np.random.default_rng(0)


def texts_like(count: int, dimension: int = 32) -> np.ndarray:
    """Vectors in heaps, as those of texts are."""
    heaps = RANDOM.standard_normal((40, dimension))
    rows = heaps[RANDOM.integers(0, 40, count)] + 0.6 * RANDOM.standard_normal((count, dimension))
    return rows.astype(np.float32)


def make(path: Path, rows: np.ndarray, backend: str, metric: str = "cosine") -> VectorIndex:
    index = VectorIndex.open(path, dimension=rows.shape[1], metric=metric, vector_backend=backend)
    index.add(range(len(rows)), rows)
    return index


@pytest.mark.parametrize(
    ("vectors", "memory", "chosen", "why"),
    [
        (1_000, 2**30, "exact", "fit into memory"),
        (900_000, 4 * 2**30, "exact", "1,318 MiB"),
        (900_000, 2**30, "sqlite-vec", "more than half of the 1,024 MiB free"),
    ],
)
def test_auto_goes_by_size_and_memory(vectors: int, memory: int, chosen: str, why: str) -> None:
    """And says why."""
    choice = choose("auto", vectors, 384, memory)
    assert choice.backend == chosen
    assert why in choice.reason


def test_auto_is_approximate_for_more_than_a_million(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed."""
    from pytest_embedcache.search import choice as module

    monkeypatch.setattr(module, "find_spec", lambda name: object())
    assert choose("auto", 1_000_001, 384, 2**40).backend == "approximate"
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert choose("auto", 1_000_001, 384, 2**40).backend == "exact"


def test_the_environment_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a call's own choice goes before."""
    monkeypatch.setenv("EMBEDCACHE_VECTOR_BACKEND", "exact")
    index = VectorIndex.open(tmp_path, dimension=3)
    assert (index.stats().backend, index.stats().reason) == ("exact", "it was asked for")


def test_sqlite_vec_answers_where_it_is_installed(tmp_path: Path) -> None:
    """This fails if everything fell back to the exact one without being asked."""
    pytest.importorskip("sqlite_vec")
    pytest.importorskip("apsw")
    assert loadable.unavailable() is None
    rows = texts_like(300)
    index = make(tmp_path, rows, "sqlite-vec")
    stats = index.stats()
    assert (stats.backend, stats.details["covered"]) == ("sqlite-vec", 300)
    asked: list[int] = []
    backend = index._now.backend  # type: ignore[union-attr]
    nearest = backend.nearest  # type: ignore[union-attr]
    backend.nearest = lambda query, count: (asked.append(count), nearest(query, count))[1]  # type: ignore
    exact = make(tmp_path / "exact", rows, "exact")
    assert index.search(rows[3], 10) == exact.search(rows[3], 10)
    assert asked != []


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's memory maps")
def test_sqlite_vec_keeps_no_rows_in_memory(tmp_path: Path) -> None:
    """Neither making the structure nor a search leaves pages of the rows in this process."""
    pytest.importorskip("sqlite_vec")
    pytest.importorskip("apsw")

    def resident() -> list[int]:
        maps = re.split(
            r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M
        )
        found = [re.search(r"Rss: +(\d+) kB", part) for part in maps if str(tmp_path) in part]
        return [int(match[1]) for match in found if match is not None]

    rows = texts_like(3000)
    index = make(tmp_path, rows, "sqlite-vec")
    assert resident() == [0]
    for filter in (None, range(2000)):
        wanted = index.search(rows[3], 10, filter=filter)
        assert resident() == [0]
    with VectorIndex.open(tmp_path, vector_backend="exact") as exact:
        assert exact.search(rows[3], 10, filter=range(2000)) == wanted
        assert max(resident()) > 0


def test_more_than_sqlite_vec_can_return_is_returned(tmp_path: Path) -> None:
    """Its limit is 4,096; a larger k is answered all the same, and the limit is in the stats."""
    pytest.importorskip("sqlite_vec")
    pytest.importorskip("apsw")
    rows = texts_like(6000, 8)
    index = make(tmp_path / "one", rows, "sqlite-vec")
    exact = make(tmp_path / "two", rows, "exact")
    assert index.stats().details["most_at_once"] == 4096
    for k in (4090, 4096, 4097, 7000):
        assert index.search(rows[0], k) == exact.search(rows[0], k)


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(sys.modules, package, None)
    return f"the package {package.replace('_', '-')} is not installed"


def refusing(package: str, monkeypatch: pytest.MonkeyPatch) -> str:
    def refuse(path: object, **options: object) -> object:
        import sqlite3

        raise sqlite3.OperationalError("not authorized")

    monkeypatch.setattr(loadable, "connect", refuse)
    return "SQLite does not load it (not authorized)"


@pytest.mark.parametrize("trouble", [without, refusing])
def test_without_sqlite_vec_exact_serves_and_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[str, pytest.MonkeyPatch], str],
) -> None:
    """The answer is right, the reason in the stats and logged once."""
    notices.reset()
    reason = trouble("sqlite_vec", monkeypatch)
    index = make(tmp_path, texts_like(50), "sqlite-vec")
    assert index.stats().backend == "exact"
    assert reason in index.stats().reason
    assert "exact serves" in index.stats().reason
    assert [message for message in notices.counts() if reason in message]
    assert index.find_similar(3, 1) == make(
        tmp_path / "x", index.get(range(50)), "exact"
    ).find_similar(3, 1)


def test_a_damaged_structure_is_made_again(tmp_path: Path) -> None:
    """It holds nothing that the rows do not."""
    pytest.importorskip("sqlite_vec")
    pytest.importorskip("apsw")
    rows = texts_like(100)
    with make(tmp_path, rows, "sqlite-vec") as index:
        wanted = index.search(rows[0], 5)
    (file,) = tmp_path.rglob("vec-*.sqlite")
    file.write_bytes(b"no database at all" * 1000)
    with VectorIndex.open(tmp_path, vector_backend="sqlite-vec") as index:
        assert index.stats().backend == "sqlite-vec"
        assert index.search(rows[0], 5) == wanted


def test_a_structure_in_use_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process writes its file, rows are scanned at once, and the file stays."""
    pytest.importorskip("sqlite_vec")
    pytest.importorskip("apsw")
    monkeypatch.setattr(loadable, "BUSY", 0.01)
    rows = texts_like(100)
    writer = make(tmp_path, rows[:80], "sqlite-vec")
    (file,) = tmp_path.rglob("vec-*.sqlite")
    inode = file.stat().st_ino
    other = loadable.connect(file)
    other.execute("BEGIN EXCLUSIVE")
    reader = VectorIndex.open(tmp_path, vector_backend="sqlite-vec")
    assert reader.search(rows[7], 1)[0].id == 7
    assert (reader.stats().backend, "is in use" in reader.stats().reason) == ("exact", True)
    writer.add(range(80, 100), rows[80:])
    assert writer.search(rows[90], 1)[0].id == 90
    assert file.stat().st_ino == inode
    assert notices.counts() == {}
    other.execute("ROLLBACK")
    other.close()
    with VectorIndex.open(tmp_path, vector_backend="sqlite-vec") as index:
        assert (index.stats().backend, index.stats().details["covered"]) == ("sqlite-vec", 100)
    assert file.stat().st_ino == inode


def test_another_backend_finds_what_was_added_meanwhile(tmp_path: Path) -> None:
    """An index may be opened with any backend at any time."""
    pytest.importorskip("sqlite_vec")
    pytest.importorskip("apsw")
    rows = texts_like(100)
    make(tmp_path, rows[:50], "sqlite-vec").close()
    with VectorIndex.open(tmp_path, vector_backend="exact") as index:
        index.add(range(50, 100), rows[50:])
    with VectorIndex.open(tmp_path, vector_backend="sqlite-vec") as index:
        assert index.stats().details["covered"] == 100
        assert index.search(rows[77], 1)[0].id == 77


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_the_graph_finds_nearly_all(tmp_path: Path, metric: str) -> None:
    """Recall@10 of 0.99 and more; what was added after it was made, and not what was removed."""
    needs_usearch()
    rows = texts_like(4000)
    graph = make(tmp_path / "one", rows, "approximate", metric)
    assert "rebuild() makes it" in graph.stats().reason
    graph.rebuild()
    assert (graph.stats().backend, graph.stats().details["covered"]) == ("approximate", 4000)
    exact = make(tmp_path / "two", rows, "exact", metric)
    for index in (graph, exact):
        index.remove(range(100, 200))
        index.add([9000], rows[:1] * 3)
    assert "1 rows are scanned" in graph.stats().reason
    found = right = 0
    for row in rows[:100]:
        wanted = exact.search(row, 10)
        got = graph.search(row, 10)
        right += len(set(wanted) & set(got))
        found += len(got)
    assert found == 1000
    assert right >= 990
    assert 9000 in [hit.id for hit in graph.search(rows[0], 2)]


@pytest.mark.skipif(
    None in (find_spec("usearch"), find_spec("onnxruntime")),
    reason="needs usearch and onnxruntime",
)
def test_a_process_that_searched_a_graph_can_load_a_prepared_model(tmp_path: Path) -> None:
    """The two libraries work in one process if they are imported in one order, which is ours."""
    code = """
        import sys
        import numpy as np
        from pytest_embedcache.search import VectorIndex

        rows = np.eye(8, dtype=np.float32)
        index = VectorIndex.open(sys.argv[1], dimension=8, vector_backend="approximate")
        index.add(range(8), rows)
        index.rebuild()
        assert index.stats().backend == "approximate"
        assert index.search(rows[3], 1)[0].id == 3
        import onnxruntime
        assert index.search(rows[4], 1)[0].id == 4
        print("both")
    """
    ran = subprocess.run(
        [sys.executable, "-c", dedent(code), str(tmp_path)], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout.split()) == (0, ["both"]), ran.stderr
