"""A file that is not what was written is found when the index is opened, with the way out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_embedcache.errors import IndexDamagedError
from pytest_embedcache.search import VectorIndex

ROWS = np.arange(200, dtype=np.float32).reshape(50, 4) + 1


def make(path: Path) -> Path:
    """The directory of its files."""
    with VectorIndex.open(path, dimension=4, vector_backend="exact") as index:
        index.add(range(50), ROWS)
    return path / "v1"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("harm", [cut, flip, empty, Path.unlink])
@pytest.mark.parametrize("which", ["index.json", "rows-*", "log-*"])
def test_damage_is_found_on_opening(
    tmp_path: Path, which: str, harm: Callable[[Path], object]
) -> None:
    """Each file, each damage: an error that names the file; the remedy that it names works."""
    home = make(tmp_path)
    (file,) = home.glob(which)
    harm(file)
    if which == "index.json" and harm is Path.unlink:
        with pytest.raises(FileNotFoundError):  # what is left is of no use without it
            VectorIndex.open(tmp_path)
    else:
        with pytest.raises(IndexDamagedError) as caught:
            VectorIndex.open(tmp_path)
        assert file.name in str(caught.value)
        assert "anew=True" in str(caught.value)
        with pytest.raises(IndexDamagedError):
            VectorIndex.open(tmp_path, dimension=4)
    with VectorIndex.open(tmp_path, dimension=4, anew=True) as index:
        assert len(index) == 0
        index.add(range(50), ROWS)
    with VectorIndex.open(tmp_path) as index:
        assert index.search(ROWS[7], 1)[0].id == 7
    assert len(list(home.glob("rows-*"))) == 1


def test_a_copy_of_the_files_is_checked_once_more_and_taken(tmp_path: Path) -> None:
    """Another inode and time, the same content."""
    make(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    os.utime(next((tmp_path / "two").rglob("rows-*")), (1, 1))
    assert len(VectorIndex.open(tmp_path / "two")) == 50


def test_what_a_killed_writer_left_is_not_read(tmp_path: Path) -> None:
    """Bytes behind the end, and files that no manifest names; the next change ends them."""
    home = make(tmp_path)
    for file in home.glob("*-*"):
        with file.open("ab") as stream:
            stream.write(b"half a row")
    (home / "rows-00000000.f32").write_bytes(b"x")
    with VectorIndex.open(tmp_path) as index:
        assert index.ids().tolist() == list(range(50))
        index.add([50], [[1, 1, 1, 1]])
    assert len(list(home.glob("rows-*"))) == 1
    with VectorIndex.open(tmp_path) as index:
        np.testing.assert_array_equal(index.get(range(50)), ROWS)
        assert index.get([50]).tolist() == [[1, 1, 1, 1]]


def test_a_write_that_fails_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is the caller's error; the index answers, and takes the change later."""
    make(tmp_path)
    index = VectorIndex.open(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            index.add([99], [[1, 1, 1, 1]])
    assert len(index) == len(VectorIndex.open(tmp_path)) == 50
    index.add([99], [[1, 1, 1, 1]])
    assert len(VectorIndex.open(tmp_path)) == 51


def test_an_index_that_vanishes_under_its_reader_says_so(tmp_path: Path) -> None:
    """Not an answer from nothing."""
    home = make(tmp_path)
    index = VectorIndex.open(tmp_path)
    shutil.rmtree(home)
    with pytest.raises(IndexDamagedError, match="missing"):
        index.search([1, 1, 1, 1])
