"""`VectorIndex`: what goes in, what comes out, and who sees it when."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from support.children import python

from pytest_embedcache import notices
from pytest_embedcache.errors import (
    IndexEntryError,
    IndexMismatchError,
    SettingsError,
    UnknownIdError,
)
from pytest_embedcache.search import Hit, VectorIndex, making, structures

ROWS = np.eye(4, dtype=np.float32)


def make(path: Path, **options: object) -> VectorIndex:
    index = VectorIndex.open(path, dimension=4, vector_backend="exact", **options)  # type: ignore[arg-type]
    index.add([1, 2, 3, 4], ROWS)
    return index


def test_the_nearest_come_first(tmp_path: Path) -> None:
    """By distance, then by id; as many as are asked for, or as there are."""
    index = make(tmp_path)
    query = [0.0, 2.0, 0.0, 0.0]
    assert index.search(query, 3) == [Hit(2, 0.0), Hit(1, 1.0), Hit(3, 1.0)]
    assert len(index.search(query, 50)) == 4
    assert index.search(query, 0) == []
    assert index.search(np.zeros(4), 2) == [Hit(1, 1.0), Hit(2, 1.0)]


def test_dot_counts_lengths(tmp_path: Path) -> None:
    """The distance is the negative inner product."""
    index = make(tmp_path, metric="dot")
    index.put([3], [[0.0, 5.0, 0.0, 0.0]])
    assert index.search([0.0, 1.0, 0.0, 0.0], 2) == [Hit(3, -5.0), Hit(2, -1.0)]


def test_what_was_opened_before_sees_what_is_committed(tmp_path: Path) -> None:
    """Another object, and another process, without being told."""
    writer, reader = make(tmp_path), VectorIndex.open(tmp_path)
    writer.update([1], [[0.0, 1.0, 0.0, 0.0]])
    writer.remove([2])
    assert reader.search([0.0, 1.0, 0.0, 0.0], 1) == [Hit(1, 0.0)]
    assert 2 not in reader
    python(
        "import sys; from pytest_embedcache.search import VectorIndex\n"
        "VectorIndex.open(sys.argv[1]).add([9], [[0.0, 9.0, 0.0, 0.0]])",
        str(tmp_path),
    )
    assert reader.search([0.0, 1.0, 0.0, 0.0], 2) == [Hit(1, 0.0), Hit(9, 0.0)]
    writer.rebuild()
    assert reader.ids().tolist() == [1, 3, 4, 9]


@pytest.mark.parametrize(
    ("ids", "vectors", "says"),
    [
        ([1], [[1, 0, 0, 0]], "it is here already"),
        ([8, 8], [[1, 0, 0, 0]] * 2, "more than once"),
        ([8], [[1, 0, 0]], "shape (1, 3)"),
        ([8, 9], [[1, 0, 0, 0]], "2 ids"),
        ([8], [[1, 0, 0, float("nan")]], "not finite"),
        ([8], [[1e300, 0, 0, 0]], "not finite"),
        ([8], [[1e-30, 0, 0, 0]], "between 1e-15"),
        (["a"], [[1, 0, 0, 0]], "whole numbers"),
        ([1.5], [[1, 0, 0, 0]], "whole numbers"),
        ([2**64], [[1, 0, 0, 0]], "whole numbers"),
        ([8], [["x", 0, 0, 0]], "no array of numbers"),
    ],
)
def test_what_cannot_be_indexed_changes_nothing(
    tmp_path: Path, ids: list[object], vectors: list[object], says: str
) -> None:
    """One error that names it, also with good ones beside it; the commit stays."""
    index = make(tmp_path)
    before = index.stats().commit
    with pytest.raises(IndexEntryError) as caught:
        index.add([7, *ids], [[1, 0, 0, 0], *vectors] if len(vectors[0]) == 4 else vectors)  # type: ignore[list-item, arg-type]
    if says not in str(caught.value):
        with pytest.raises(IndexEntryError) as caught:
            index.add(ids, vectors)  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert index.stats().commit == before
    assert len(index) == 4


def test_an_unknown_id_is_named(tmp_path: Path) -> None:
    """In get, update and find_similar; remove counts what was here."""
    index = make(tmp_path)
    for call in (
        lambda: index.get([1, 77]),
        lambda: index.update([77], [[1, 0, 0, 0]]),
        lambda: index.find_similar(77),
    ):
        with pytest.raises(UnknownIdError, match="77") as caught:
            call()
        assert caught.value.entry == 77
    assert index.remove([77, 1, 1]) == 1


def test_a_rebuild_from_batches_replaces_all_or_nothing(tmp_path: Path) -> None:
    """While it runs the old index answers; if it fails, it stays, and no file is left."""
    index, reader = make(tmp_path), VectorIndex.open(tmp_path)

    def batches(then: object) -> object:
        yield [10], [[0, 0, 0, 1]]
        assert reader.ids().tolist() == [1, 2, 3, 4]
        yield then

    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(IndexEntryError, match="more than once"):
        index.rebuild(batches(([10], [[0, 0, 0, 1]])))  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == files
    index.rebuild(batches(([11], [[0, 0, 1, 0]])))  # type: ignore[arg-type]
    assert reader.ids().tolist() == index.ids().tolist() == [10, 11]
    assert len(list(tmp_path.rglob("rows-*"))) == 1


def test_a_copy_is_whole_and_apart(tmp_path: Path) -> None:
    """save() writes what is there now, also over another index."""
    index = make(tmp_path / "one")
    index.save(tmp_path / "two")
    copy = VectorIndex.open(tmp_path / "two")
    index.remove([1])
    assert copy.ids().tolist() == [1, 2, 3, 4]
    index.save(tmp_path / "two")
    assert copy.ids().tolist() == [2, 3, 4]
    np.testing.assert_array_equal(copy.get([2, 3, 4]), ROWS[1:])


def test_what_it_returns_belongs_to_the_caller(tmp_path: Path) -> None:
    """Writing into it changes nothing."""
    index = make(tmp_path)
    index.get([1])[:] = 7
    index.ids()[:] = 7
    assert index.get([1]).tolist() == [ROWS[0].tolist()]
    assert index.ids().tolist() == [1, 2, 3, 4]


def test_it_is_opened_as_it_was_made(tmp_path: Path) -> None:
    """Another dimension, metric or backend is one clear error; so is none at all."""
    make(tmp_path / "index")
    with pytest.raises(FileNotFoundError, match="dimension"):
        VectorIndex.open(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(IndexMismatchError, match="dimension 4, not 5"):
        VectorIndex.open(tmp_path / "index", dimension=5)
    with pytest.raises(IndexMismatchError, match="metric cosine, not dot"):
        VectorIndex.open(tmp_path / "index", metric="dot")
    with pytest.raises(SettingsError, match="sqlite-vec"):
        VectorIndex.open(tmp_path / "index", vector_backend="faiss")
    with pytest.raises(IndexEntryError, match="dimension"):
        VectorIndex.open(tmp_path / "new", dimension=0)


def test_a_vector_that_is_there_takes_no_other_row(tmp_path: Path) -> None:
    """`put` writes what is new, to the bit; 0 and -0 are two."""
    index = make(tmp_path)
    before = index.stats()
    index.put([2, 1], ROWS[[1, 0]])
    assert index.stats() == before
    index.put([1, 2, 9], [[1.0, 0.0, 0.0, 0.0], [-0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0]])
    after = index.stats()
    assert (after.removed, after.entries, after.commit) == (1, 5, before.commit + 1)
    assert np.signbit(index.get([2])[0, 0])


def test_who_opens_it_does_not_wait_for_a_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is searched as it is, and nothing is said: whoever writes brings all up to date."""
    make(tmp_path).close()
    monkeypatch.setenv("EMBEDCACHE_LOCK_TIMEOUT", "0.1")
    monkeypatch.setattr(structures, "is_made_by", lambda *_: True)
    with making.locked(tmp_path / "v1"):
        assert VectorIndex.open(tmp_path).search([0.0, 2.0, 0.0, 0.0], 1) == [Hit(2, 0.0)]
    assert notices.counts() == {}


def test_threads_add_and_search_at_once(tmp_path: Path) -> None:
    """Nothing is lost, and every search sees whole commits: pairs come together."""
    index = VectorIndex.open(tmp_path, dimension=4, vector_backend="exact")
    failures: list[object] = []

    def write(me: int) -> None:
        for number in range(8):
            first = me * 100 + number * 2
            index.add([first, first + 1], np.full((2, 4), me + 1.0))

    def read() -> None:
        while len(found := index.search([1, 1, 1, 1], 1000)) < 48:
            ids = {hit.id for hit in found}
            failures.extend(id for id in ids if id ^ 1 not in ids)

    threads = [threading.Thread(target=write, args=(me,)) for me in range(3)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(index) == 48


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    """All of both is there, each under its id."""
    from concurrent.futures import ThreadPoolExecutor

    code = (
        "import sys; from pytest_embedcache.search import VectorIndex\n"
        "index, me = VectorIndex.open(sys.argv[1], dimension=2), int(sys.argv[2])\n"
        "for n in range(25):\n"
        "    index.put([me * 100 + n, 7], [[me, n + 1], [me, 1000]])\n"
        "    assert me * 100 + n in index\n"
    )
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda me: python(code, str(tmp_path), str(me)), (1, 2)))
    index = VectorIndex.open(tmp_path)
    wanted = {me * 100 + n: [me, n + 1] for me in (1, 2) for n in range(25)}
    found = index.ids().tolist()
    assert found == sorted([7, *wanted])
    assert index.stats().commit == 51  # the empty one, and 25 of each
    assert index.get(list(wanted)).tolist() == list(wanted.values())
