"""The SQLite store: the contract, its bounds, its upkeep, its threads and processes."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_embedcache.errors import StoreError
from pytest_embedcache.testing.contracts import (
    MODEL,
    OTHER_MODEL,
    VectorStoreContract,
    equal,
    items_of,
    key_of,
    vector_of,
)
from pytest_embedcache.vectors.sqlite import SqliteStore

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path)
    yield store
    store.close()


class TestSqliteStore(VectorStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteStore]:
        store = SqliteStore(tmp_path)
        yield store
        store.close()


def big(*names: object) -> dict[bytes, np.ndarray]:
    """Vectors of 2,000 components: 8 kB each, so that bounds are reached soon."""
    return {key_of(name): vector_of(name, 2000) for name in names}


# ------------------------------------------------------------------------------ on disk


def test_it_lives_below_the_versioned_directory(tmp_path: Path, store: SqliteStore) -> None:
    """The database is `v1/vectors.sqlite3`, made at the first use and for the user alone."""
    assert not (tmp_path / "v1").exists()
    store.put_many(MODEL, items_of("a"))
    assert store.path == tmp_path / "v1" / "vectors.sqlite3"
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_another_store_finds_what_was_put(tmp_path: Path, store: SqliteStore) -> None:
    """Vectors outlive the object, and are shared with a second one at once."""
    store.put_many(MODEL, items_of(*range(20)))
    other = SqliteStore(tmp_path)
    assert equal(other.get_many(MODEL, [key_of(n) for n in range(25)]), items_of(*range(20)))
    store.close()
    other.close()
    again = SqliteStore(tmp_path)
    assert equal(again.get_many(MODEL, [key_of(n) for n in range(25)]), items_of(*range(20)))
    again.close()


def test_it_writes_ahead(store: SqliteStore) -> None:
    """On a local disk the journal mode is WAL, and the stats say so."""
    store.put_many(MODEL, items_of("a"))
    assert store.stats().details["journal_mode"] == "wal"


def test_a_closed_store_leaves_one_file(store: SqliteStore) -> None:
    """With the last connection the write-ahead log goes into the database."""
    store.put_many(MODEL, items_of("a"))
    store.close()
    assert [path.name for path in store.path.parent.iterdir()] == ["vectors.sqlite3"]


def test_a_closed_store_opens_again(store: SqliteStore) -> None:
    """Closing lets go of files; a later use is not an error."""
    store.put_many(MODEL, items_of("a"))
    store.close()
    assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))


# ------------------------------------------------------------------------------ bounds


def test_the_least_recently_used_leave_first(tmp_path: Path) -> None:
    """At the bound what was read lately stays, though it was written first."""
    clock = Clock()
    store = SqliteStore(tmp_path, max_bytes=2**20, clock=clock)
    store.put_many(MODEL, big("old but read"))
    for number in range(300):
        clock.now += 1
        store.get_many(MODEL, [key_of("old but read")])
        store.put_many(MODEL, big(number))
    stats = store.stats()
    assert stats.bytes <= 2**20
    assert stats.evictions > 150
    assert stats.entries + stats.evictions == 301
    found = store.get_many(MODEL, [key_of("old but read"), *map(key_of, range(300))])
    assert key_of("old but read") in found
    left = sorted(number for number in range(300) if key_of(number) in found)
    assert left == list(range(300 - len(left), 300))
    store.close()


def test_the_file_does_not_outgrow_its_bound(tmp_path: Path) -> None:
    """Pages that an eviction left are used again: the file stays near the bound."""
    store = SqliteStore(tmp_path, max_bytes=2**20)
    for start in range(0, 600, 20):
        store.put_many(MODEL, big(*range(start, start + 20)))
    store.close()
    assert store.path.stat().st_size <= 2**20 + 20 * 2**14


def test_a_read_writes_nothing(tmp_path: Path, store: SqliteStore) -> None:
    """When a vector was used is written with the next write, never by a read."""
    clock = Clock()
    store = SqliteStore(tmp_path, clock=clock)
    store.put_many(MODEL, items_of("a", "b"))
    watcher = sqlite3.connect(store.path)
    uses = "SELECT at FROM uses ORDER BY id"
    before = watcher.execute(uses).fetchall()
    version = watcher.execute("PRAGMA data_version").fetchone()
    clock.now += 100
    for _ in range(10):
        store.get_many(MODEL, [key_of("a")])
    assert watcher.execute("PRAGMA data_version").fetchone() == version
    store.put_many(MODEL, items_of("c"))
    assert watcher.execute(uses).fetchall() == [(clock.now,), before[1], (clock.now,)]
    watcher.close()
    store.close()


def test_a_run_without_writes_leaves_its_uses_behind(tmp_path: Path) -> None:
    """On closing a store that is near its bound, what was read counts as used."""
    clock = Clock()
    store = SqliteStore(tmp_path, max_bytes=2**20, clock=clock)
    store.put_many(MODEL, big(*range(80)))
    store.close()
    clock.now += 100
    reader = SqliteStore(tmp_path, max_bytes=2**20, clock=clock)
    reader.get_many(MODEL, [key_of(0)])
    reader.close()
    clock.now += 100
    writer = SqliteStore(tmp_path, max_bytes=2**20, clock=clock)
    writer.put_many(MODEL, big(*range(80, 160)))
    found = writer.get_many(MODEL, [key_of(0), key_of(1)])
    assert equal(found, big(0))
    writer.close()


def test_a_lifetime_runs_from_when_it_was_put(tmp_path: Path) -> None:
    """After the lifetime a vector is a miss, and the next writer is the first."""
    clock = Clock()
    store = SqliteStore(tmp_path, ttl=60.0, clock=clock)
    store.put_many(MODEL, items_of("a"))
    clock.now += 40
    store.put_many(MODEL, items_of("b"))
    assert equal(store.get_many(MODEL, [key_of("a"), key_of("b")]), items_of("a", "b"))
    clock.now += 20
    assert equal(store.get_many(MODEL, [key_of("a"), key_of("b")]), items_of("b"))
    second = {key_of("a"): vector_of("second")}
    assert store.put_many(MODEL, second) == {}
    assert equal(store.get_many(MODEL, [key_of("a")]), second)
    assert store.stats().entries == 2
    store.close()


def test_prune_removes_what_has_expired(tmp_path: Path) -> None:
    """`prune` counts what it removed, and the living stay."""
    clock = Clock()
    store = SqliteStore(tmp_path, ttl=60.0, clock=clock)
    store.put_many(MODEL, items_of("a", "b"))
    clock.now += 60
    store.put_many(MODEL, items_of("c"))
    assert store.prune() == 2
    assert store.prune() == 0
    assert store.stats().entries == 1
    store.close()


def test_prune_applies_a_smaller_bound(tmp_path: Path) -> None:
    """A bound that was lowered is kept after `prune`, and `vacuum` gives the room back."""
    wide = SqliteStore(tmp_path)
    wide.put_many(MODEL, big(*range(300)))
    wide.close()
    narrow = SqliteStore(tmp_path, max_bytes=2**20)
    assert narrow.prune() > 150
    assert narrow.stats().bytes <= 2**20
    assert narrow.vacuum() > 2**20
    assert narrow.path.stat().st_size <= 2**20
    assert list(narrow.verify()) == []
    left = narrow.stats().entries
    assert len(narrow.get_many(MODEL, list(big(*range(300))))) == left > 0
    narrow.close()


# ------------------------------------------------------------------------------ for people


def test_models_are_listed_with_their_labels(store: SqliteStore) -> None:
    """Entries and bytes for each model, the largest first, under the name a person gave it."""
    store.label(MODEL, "a model")
    store.label(MODEL, "all-MiniLM-L6-v2")
    store.put_many(MODEL, items_of(*range(3)))
    store.put_many(OTHER_MODEL, big("a"))
    listed = [(use.fingerprint, use.label, use.entries) for use in store.models()]
    assert listed == [(OTHER_MODEL, None, 1), (MODEL, "all-MiniLM-L6-v2", 3)]
    assert store.models()[1].bytes == 3 * (16 + 32)


def test_a_label_that_is_there_is_not_written_again(store: SqliteStore) -> None:
    """Labelling in every run costs a read, not the write lock."""
    store.label(MODEL, "name")
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    store.label(MODEL, "name")
    blocker.close()


def test_verify_names_what_is_damaged(store: SqliteStore) -> None:
    """Every value of every model is checked, and nothing is removed by looking."""
    store.put_many(MODEL, items_of(*range(1200)))
    store.put_many(OTHER_MODEL, items_of("a", "b"))
    assert list(store.verify()) == []
    spoil(store.path, 700, OTHER_MODEL, "b")
    assert sorted(store.verify()) == sorted([(MODEL, key_of(700)), (OTHER_MODEL, key_of("b"))])
    assert store.stats().entries == 1202


def spoil(path: Path, name: object, other_model: str, other: object) -> None:
    """Flip a bit in one value of a model, and give another's value to a key."""
    database = sqlite3.connect(path)
    (value,) = database.execute(
        "SELECT value FROM vectors WHERE key = ?", (key_of(name),)
    ).fetchone()
    flipped = value[:-1] + bytes([value[-1] ^ 1])
    change = "UPDATE vectors SET value = ? WHERE key = ?"
    database.execute(change, (flipped, key_of(name)))
    database.execute(change, (value, key_of(other)))
    database.commit()
    database.close()


# ------------------------------------------------------------------------------ threads and forks


class CountedConnection(sqlite3.Connection):
    """Knows how many of its kind are open."""

    opened = 0
    closed = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        CountedConnection.opened += 1

    def close(self) -> None:
        super().close()
        CountedConnection.closed += 1


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store whose connections are counted."""
    CountedConnection.opened = CountedConnection.closed = 0

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        return sqlite3.connect(*args, factory=CountedConnection, **options)

    store = SqliteStore(tmp_path, connect=connect)
    yield store
    store.close()


def in_thread(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_each_thread_has_one_connection_until_it_ends(counted: SqliteStore) -> None:
    """A thread's connection is opened once, and closed when the thread is gone."""
    counted.put_many(MODEL, items_of("a"))

    def read() -> None:
        for _ in range(3):
            assert equal(counted.get_many(MODEL, [key_of("a")]), items_of("a"))

    for _ in range(5):
        in_thread(read)
    gc.collect()
    assert CountedConnection.opened == 6
    assert CountedConnection.closed == 5
    counted.close()
    assert CountedConnection.closed == 6


def test_closing_closes_the_connections_of_all_threads(counted: SqliteStore) -> None:
    """`close` in one thread closes those of threads that still run."""
    used, done = threading.Event(), threading.Event()

    def work() -> None:
        counted.put_many(MODEL, items_of("a"))
        used.set()
        done.wait(120)

    thread = threading.Thread(target=work)
    thread.start()
    assert used.wait(120)
    counted.close()
    assert CountedConnection.closed == CountedConnection.opened == 1
    done.set()
    thread.join()


@needs_fork
def test_no_connection_is_open_across_a_fork(counted: SqliteStore) -> None:
    """A child inherits no connection; parent and child each open their own afterwards."""
    counted.put_many(MODEL, items_of("a"))
    child = os.fork()
    if child == 0:
        inherited = CountedConnection.opened - CountedConnection.closed
        good = equal(counted.get_many(MODEL, [key_of("a")]), items_of("a"))
        os._exit(0 if good and inherited == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert equal(counted.get_many(MODEL, [key_of("a")]), items_of("a"))
    assert CountedConnection.opened == 2


@needs_fork
def test_what_a_child_writes_survives_its_parents_closing(tmp_path: Path) -> None:
    """A parent that closes its store does not take the log away from a child that writes."""
    store = SqliteStore(tmp_path)
    store.put_many(MODEL, items_of("before"))
    to_child, go = os.pipe()
    told, to_parent = os.pipe()
    child = os.fork()
    if child == 0:
        store.put_many(MODEL, items_of("first"))
        os.write(to_parent, b"1")
        os.read(to_child, 1)
        store.put_many(MODEL, items_of("second"))
        os.write(to_parent, b"2")
        os.read(to_child, 1)
        os._exit(0)
    os.read(told, 1)
    store.get_many(MODEL, [key_of("first")])
    store.close()
    os.write(go, b"1")
    os.read(told, 1)
    other = SqliteStore(tmp_path)
    names = ("before", "first", "second")
    assert equal(other.get_many(MODEL, list(items_of(*names))), items_of(*names))
    os.write(go, b"2")
    os.waitpid(child, 0)
    other.close()
    for end in (to_child, go, told, to_parent):
        os.close(end)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # 3.12 and later
def test_a_fork_while_threads_write_leaves_a_usable_store(store: SqliteStore) -> None:
    """The child of a process whose other threads are writing reads and writes at once."""
    store.put_many(MODEL, items_of("a"))
    stop = threading.Event()
    errors: list[BaseException] = []

    def write(start: int) -> None:
        number = start
        try:
            while not stop.is_set():
                number += 1
                store.put_many(MODEL, items_of(*range(number, number + 20)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 10**6)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            child = os.fork()
            if child == 0:
                good = equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))
                good = good and store.put_many(MODEL, items_of(f"child {number}")) == {}
                os._exit(0 if good else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    names = [f"child {number}" for number in range(10)]
    assert equal(store.get_many(MODEL, list(items_of(*names))), items_of(*names))


# ------------------------------------------------------------------------------ locks


def test_a_locked_database_is_read_and_not_written(tmp_path: Path) -> None:
    """While another process writes for long, reads go on, and a write is an error of ours."""
    store = SqliteStore(tmp_path, timeout=0.01)
    store.put_many(MODEL, items_of("a"))
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))
    with pytest.raises(StoreError, match="locked"):
        store.put_many(MODEL, items_of("b"))
    with pytest.raises(StoreError, match="locked"):
        store.delete_many(MODEL, [key_of("a")])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert store.put_many(MODEL, items_of("b")) == {}
    assert store.stats().errors == 2
    store.close()


class Interrupted(sqlite3.Connection):
    """Is interrupted once, after the statement that `after` begins."""

    after = ""

    def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
        cursor = super().execute(statement, *args)
        if Interrupted.after and statement.startswith(Interrupted.after):
            Interrupted.after = ""
            raise KeyboardInterrupt
        return cursor


@pytest.mark.parametrize("after", ["BEGIN", "INSERT", "COMMIT"])
def test_an_interrupt_in_a_write_locks_nobody_out(tmp_path: Path, after: str) -> None:
    """It comes between two steps: when the transaction has begun at last, for instance."""

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        return sqlite3.connect(*args, factory=Interrupted, **options)

    store, other = SqliteStore(tmp_path, connect=connect), SqliteStore(tmp_path, timeout=0)
    store.put_many(MODEL, items_of("a"))
    Interrupted.after = after
    with pytest.raises(KeyboardInterrupt) as interrupt:  # whoever keeps it keeps the frames
        store.put_many(MODEL, items_of("b"))
    assert other.put_many(MODEL, items_of("c")) == {}
    assert store.put_many(MODEL, items_of("d")) == {}
    assert equal(store.get_many(MODEL, [key_of("d")]), items_of("d"))
    assert interrupt.value is not None
    store.close()
    other.close()


def test_a_failed_write_leaves_nothing_half_done(tmp_path: Path) -> None:
    """An interrupted batch is rolled back, and the connection works on."""

    class Interrupted(sqlite3.Connection):
        armed = False

        def executemany(self, *args: Any) -> sqlite3.Cursor:
            done = super().executemany(*args)
            if Interrupted.armed:
                Interrupted.armed = False
                raise KeyboardInterrupt
            return done

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        return sqlite3.connect(*args, factory=Interrupted, **options)

    store = SqliteStore(tmp_path, connect=connect)
    store.put_many(MODEL, items_of("a"))
    Interrupted.armed = True
    with pytest.raises(KeyboardInterrupt):
        store.put_many(MODEL, items_of("b", "c"))
    assert equal(store.get_many(MODEL, [key_of(n) for n in "abc"]), items_of("a"))
    assert store.put_many(MODEL, items_of("b", "c")) == {}
    assert equal(store.get_many(MODEL, [key_of(n) for n in "abc"]), items_of("a", "b", "c"))
    store.close()
