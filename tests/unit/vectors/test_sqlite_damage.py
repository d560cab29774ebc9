"""The SQLite store on disks that are broken, full, read-only or no place for WAL."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_embedcache import notices
from pytest_embedcache.errors import StoreError
from pytest_embedcache.testing.contracts import (
    MODEL,
    VectorStoreContract,
    equal,
    items_of,
    key_of,
)
from pytest_embedcache.vectors.sqlite import SqliteStore

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX locks, limits and users")
KEYS = [key_of(n) for n in range(40)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with the vectors of 0 to 39, closed."""
    store = SqliteStore(tmp_path)
    store.put_many(MODEL, items_of(*range(40)))
    store.close()
    notices.reset()
    return store.path


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store over that database, which a test has spoiled before it is used."""
    store = SqliteStore(path.parent.parent, timeout=0.05)
    yield store
    store.close()


def set_aside(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir() if ".corrupt-" in other.name]


def works(store: SqliteStore) -> bool:
    return store.put_many(MODEL, items_of("new")) == {} and equal(
        store.get_many(MODEL, [key_of("new")]), items_of("new")
    )


# ------------------------------------------------------------------------------ damaged values


@pytest.mark.parametrize(
    "value",
    [b"", b"EMBV", b"\0" * 48, "text", 7, 1.5, b"another program's value"],
    ids=["empty", "short", "zeros", "text", "int", "float", "foreign"],
)
def test_a_value_that_is_no_vector_is_a_miss(store: SqliteStore, path: Path, value: Any) -> None:
    """It is deleted and counted, the others of the batch are found, and the key is free again."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE vectors SET value = ? WHERE key = ?", (value, key_of(3)))
    database.close()
    found = store.get_many(MODEL, KEYS)
    assert equal(found, {k: v for k, v in items_of(*range(40)).items() if k != key_of(3)})
    assert store.stats().corrupt == 1
    assert store.stats().entries == 39
    assert store.put_many(MODEL, items_of(3)) == {}
    assert equal(store.get_many(MODEL, KEYS), items_of(*range(40)))
    assert set_aside(path) == []


def test_a_damaged_value_is_written_over(store: SqliteStore, path: Path) -> None:
    """`put_many` finds the damage too: what it accepted is there afterwards."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE vectors SET value = substr(value, 1, 30)")
    database.close()
    assert store.put_many(MODEL, items_of(*range(40))) == {}
    assert equal(store.get_many(MODEL, KEYS), items_of(*range(40)))
    assert store.stats().corrupt == 40
    assert store.stats().entries == 40


# ------------------------------------------------------------------------------ damaged files


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 500)


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _header(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"\0" * 100)


def _no_tables(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE vectors")
    database.close()


def _no_version(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 0")
    database.close()


@pytest.mark.parametrize("spoil", [_garbage, _half, _header, _no_tables, _no_version])
def test_a_damaged_file_is_moved_aside(store: SqliteStore, path: Path, spoil: Any) -> None:
    """The file is kept beside a new one, counted, said once, and nothing found is wrong."""
    spoil(path)
    assert works(store)
    found = store.get_many(MODEL, KEYS)
    assert equal(found, {key: items_of(*range(40))[key] for key in found})
    assert [name for name in set_aside(path) if not name.endswith(("-wal", "-shm"))]
    assert store.stats().corrupt == 1
    assert store.stats().details["moved_aside"] == 1
    (message,) = notices.counts()
    assert str(path) in message
    assert "moved to" in message


def test_a_file_that_is_empty_is_a_new_one(store: SqliteStore, path: Path) -> None:
    """Nothing is moved aside where there was nothing."""
    path.write_bytes(b"")
    assert works(store)
    assert set_aside(path) == []


def test_a_file_damaged_while_it_is_open_is_moved_aside(store: SqliteStore, path: Path) -> None:
    """Damage that comes later is found by the read that meets it."""
    assert equal(store.get_many(MODEL, KEYS), items_of(*range(40)))
    store.close()
    store.get_many(MODEL, KEYS[:1])
    with path.open("r+b") as stream:
        stream.seek(0)
        stream.write(os.urandom(path.stat().st_size))
    for _ in range(2):
        store.put_many(MODEL, items_of(*range(50, 60)))
    assert equal(store.get_many(MODEL, [key_of(55)]), items_of(55))
    assert len(set_aside(path)) >= 1


def test_only_the_last_damaged_file_is_kept(store: SqliteStore, path: Path) -> None:
    """A disk that damages a file every day is not filled with damaged files."""
    for _ in range(3):
        store.close()
        _garbage(path)
        assert works(store)
    assert len([name for name in set_aside(path) if name.endswith("Z")]) == 1


def test_a_file_of_another_version_is_left_alone(store: SqliteStore, path: Path) -> None:
    """A schema that this version does not know is neither read nor moved nor changed."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="version 2"):
        store.get_many(MODEL, KEYS)
    with pytest.raises(StoreError, match="version 2"):
        store.put_many(MODEL, items_of("a"))
    store.close()
    assert path.read_bytes() == before
    assert set_aside(path) == []


@posix
def test_a_damaged_file_that_others_use_is_not_moved(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renaming it would later cost the new file its log: until they let go, we do without."""
    monkeypatch.setattr("pytest_embedcache.vectors.sqlite_aside._WAIT_FOR_OTHERS", 0.05)
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1])\n"
        "c.execute('SELECT count(*) FROM vectors').fetchone(); print('ready', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with path.open("r+b") as stream:
            stream.seek(100)
            stream.write(b"\xff" * (path.stat().st_size - 100))
        with pytest.raises(StoreError, match="other processes"):
            store.get_many(MODEL, KEYS)
        assert set_aside(path) == []
        other.communicate(b"")
    assert works(store)
    assert len(set_aside(path)) >= 1


@posix
def test_stores_of_one_process_move_a_file_together(path: Path) -> None:
    """A second store of this process on the same file is no stranger: it goes along."""
    one, two = SqliteStore(path.parent.parent), SqliteStore(path.parent.parent)
    two.get_many(MODEL, KEYS)
    _garbage(path)
    assert works(one)
    assert equal(two.get_many(MODEL, [key_of("new")]), items_of("new"))
    assert works(two)
    one.close()
    two.close()


def test_flipped_bits_never_make_a_wrong_vector(path: Path, tmp_path: Path) -> None:
    """Whichever bits are others: what is found is right, and what is raised is ours."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    pristine = path.read_bytes()
    right = {key: vector.tobytes() for key, vector in items_of(*range(40)).items()}
    outcomes = {"found": 0, "lost": 0, "refused": 0}
    for number in range(120):
        spoiled = bytearray(pristine)
        for _ in range(dice.choice((1, 1, 2, 8))):
            # Headers of pages, where the structure is, as often as the rest.
            page = dice.randrange(len(pristine) // 8192) * 8192
            spoiled[page + dice.randrange(dice.choice((120, 8192)))] ^= 1 << dice.randrange(8)
        directory = tmp_path / str(number)
        (directory / "v1").mkdir(parents=True)
        (directory / "v1" / "vectors.sqlite3").write_bytes(spoiled)
        store = SqliteStore(directory, timeout=0.05)
        for step in ("read", "write", "read"):
            try:
                if step == "write":
                    won = store.put_many(MODEL, items_of(*range(40)))
                    assert won == {}
                    continue
                found = store.get_many(MODEL, KEYS)
            except StoreError:
                outcomes["refused"] += 1
                continue
            for key, vector in found.items():
                assert vector.tobytes() == right[key]
            outcomes["found"] += len(found)
            outcomes["lost"] += len(KEYS) - len(found)
        store.close()
        shutil.rmtree(directory)
    assert outcomes["found"] > outcomes["lost"]


# ------------------------------------------------------------------------------ no place for WAL


class NoSharedMemory(sqlite3.Connection):
    """A network file system: going over to WAL succeeds, and the first use of it does not."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
        if statement == "BEGIN IMMEDIATE":
            (mode,) = super().execute("PRAGMA journal_mode").fetchone()
            if mode == "wal":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                raise error
        return super().execute(statement, *values)


def without_wal(*args: Any, **options: Any) -> sqlite3.Connection:
    return sqlite3.connect(*args, factory=NoSharedMemory, **options)


class TestWithoutWal(VectorStoreContract):
    """The whole contract where WAL cannot be used."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteStore]:
        store = SqliteStore(tmp_path, connect=without_wal)
        yield store
        store.close()


def test_where_wal_does_not_work_another_journal_does(tmp_path: Path) -> None:
    """A real write probes WAL; what is used instead is said once and in the stats."""
    notices.reset()
    for _ in range(2):
        store = SqliteStore(tmp_path, connect=without_wal)
        assert store.put_many(MODEL, items_of("a")) == {}
        assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))
        assert store.stats().details["journal_mode"] == "truncate"
        store.close()
    (message,) = notices.counts()
    assert "write-ahead log" in message
    assert str(store.path) in message


# ------------------------------------------------------------------------------ full and read-only


def test_a_place_that_is_no_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    """Where the cache directory cannot be made, the error names the path."""
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file")
    with pytest.raises(StoreError, match="file"):
        store.get_many(MODEL, KEYS)
    with pytest.raises(StoreError, match="EMBEDCACHE_DIR"):
        store.put_many(MODEL, items_of("a"))
    store.close()


def child(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints; the imports that the code needs are made for it."""
    imports = (
        "import os, sys, resource\n"
        "from pathlib import Path\n"
        "from pytest_embedcache import notices\n"
        "from pytest_embedcache.errors import StoreError\n"
        "from pytest_embedcache.testing.contracts import MODEL, equal, items_of, key_of\n"
        "from pytest_embedcache.vectors.sqlite import SqliteStore\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", imports + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@posix
def test_a_full_disk_is_an_error_of_ours_and_can_still_be_read(tmp_path: Path) -> None:
    """When files cannot grow, a write raises StoreError; what was accepted is there, all of it."""
    printed = child(
        "store = SqliteStore(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))\n"
        "accepted, refused = [], 0\n"
        "for start in range(0, 4000, 100):\n"
        "    names = range(start, start + 100)\n"
        "    try:\n"
        "        store.put_many(MODEL, items_of(*names))\n"
        "        accepted += names\n"
        "    except StoreError:\n"
        "        refused += 1\n"
        "assert accepted and refused, (accepted, refused)\n"
        "found = store.get_many(MODEL, [key_of(n) for n in range(4000)])\n"
        "assert equal(found, items_of(*accepted))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "assert store.put_many(MODEL, items_of('later')) == {}\n"
        "store.close()\n"
        "again = SqliteStore(sys.argv[1])\n"
        "found = again.get_many(MODEL, [key_of(n) for n in (*accepted, 'later')])\n"
        "assert equal(found, items_of(*accepted, 'later'))\n"
        "print(len(accepted), refused)\n",
        str(tmp_path),
    )
    assert len(printed.split()) == 2


@posix
def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    """Not even the tables can be made: an error of ours, and later it works."""
    child(
        "store = SqliteStore(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "for _ in range(2):\n"
        "    for call in (lambda: store.put_many(MODEL, items_of('a')),\n"
        "                 lambda: store.get_many(MODEL, [key_of('a')])):\n"
        "        try:\n"
        "            call()\n"
        "        except StoreError:\n"
        "            pass\n"
        "        else:\n"
        "            raise AssertionError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "assert store.put_many(MODEL, items_of('a')) == {}\n"
        "assert equal(store.get_many(MODEL, [key_of('a')]), items_of('a'))\n",
        str(tmp_path),
    )


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that another user can reach, which `tmp_path` is not."""
    directory = Path(tempfile.mkdtemp(prefix="embedcache-"))
    directory.chmod(0o755)
    yield directory
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(directory)


#: root may write everywhere, so it becomes somebody else.
AS_ANOTHER_USER = (
    "items_of('imports done'); os.geteuid() == 0 and (os.setegid(65534), os.seteuid(65534))\n"
)


@posix
def test_a_read_only_directory_is_read(public_directory: Path) -> None:
    """Vectors are found, a write is an error of ours, it is said once, and no file is made."""
    store = SqliteStore(public_directory)
    store.put_many(MODEL, items_of(*range(40)))
    store.close()
    store.path.chmod(0o444)
    store.path.parent.chmod(0o555)
    child(
        AS_ANOTHER_USER + "store = SqliteStore(sys.argv[1])\n"
        "for _ in range(3):\n"
        "    found = store.get_many(MODEL, [key_of(n) for n in range(50)])\n"
        "    assert equal(found, items_of(*range(40)))\n"
        "    try:\n"
        "        store.put_many(MODEL, items_of('a'))\n"
        "    except StoreError:\n"
        "        pass\n"
        "    else:\n"
        "        raise AssertionError\n"
        "    store.close()\n"
        "assert store.stats().details['read_only']\n"
        "(message,) = notices.counts()\n"
        "assert 'can only be read' in message\n",
        str(public_directory),
    )
    assert [path.name for path in store.path.parent.iterdir()] == ["vectors.sqlite3"]


@posix
def test_a_damaged_file_in_a_read_only_directory_is_an_error_of_ours(
    public_directory: Path,
) -> None:
    """Nothing can be moved there: the store is gone without."""
    store = SqliteStore(public_directory)
    store.put_many(MODEL, items_of("a"))
    store.close()
    _garbage(store.path)
    store.path.chmod(0o444)
    store.path.parent.chmod(0o555)
    child(
        AS_ANOTHER_USER + "store = SqliteStore(sys.argv[1])\n"
        "try:\n"
        "    store.get_many(MODEL, [key_of('a')])\n"
        "except StoreError:\n"
        "    pass\n"
        "else:\n"
        "    raise AssertionError\n",
        str(public_directory),
    )


@posix
def test_a_read_only_directory_without_a_database(public_directory: Path) -> None:
    """There is nothing to read: an error of ours."""
    public_directory.chmod(0o555)
    child(
        AS_ANOTHER_USER + "store = SqliteStore(sys.argv[1])\n"
        "try:\n"
        "    store.get_many(MODEL, [key_of('a')])\n"
        "except StoreError as error:\n"
        "    assert 'EMBEDCACHE_DIR' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n",
        str(public_directory),
    )
