"""Weights are hashed once, and again whenever they may have changed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.children import python
from support.damage import rewrite
from support.models import add_to_hub_cache, write_safetensors

from pytest_embedcache import notices, weights
from pytest_embedcache.weights import (
    DamagedWeightsError,
    HashMemo,
    WeightsHash,
    read_header,
    stat_key,
)

TENSORS = {"b": ([2], [1.0, 2.0]), "a": ([1], [3.0])}


def settled() -> float:
    """A clock on which every file is old enough."""
    return time.time() + 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, TENSORS)
    return path


def hash_of(path: Path) -> WeightsHash:
    return HashMemo(None)(path)


def test_a_header_is_parsed_once_as_long_as_the_file_stands(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is old enough; after a write, and for another file, it is parsed again."""
    parsed = []

    def loads(raw: bytes) -> object:
        parsed.append(raw)
        return json.loads(raw)

    monkeypatch.setattr(weights, "_last", None)
    monkeypatch.setattr(weights, "json", SimpleNamespace(loads=loads))
    assert read_header(file) == read_header(file)
    assert len(parsed) == 2  # it may have been written to within a tick of the clock
    monkeypatch.setattr(weights, "time", SimpleNamespace(time=settled))
    first = read_header(file)
    assert (read_header(file), len(parsed)) == (first, 3)
    write_safetensors(file, {"c": ([1], [3.0])})
    assert (list(read_header(file)[0]), len(parsed)) == (["c"], 4)
    other = file.with_name("other.safetensors")
    write_safetensors(other, TENSORS)
    assert (set(read_header(other)[0]), len(parsed)) == ({"a", "b"}, 5)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedWeightsError):
        read_header(file)


def other_weights(file: Path) -> bytes:
    """As long as the file, and other values."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    return bytes(content)


# --------------------------------------------------------------------------- what the hash is of


def test_the_tensors_are_what_counts_and_not_how_they_are_written(
    file: Path, tmp_path: Path
) -> None:
    """Metadata, order and padding of the header change the file's hash and not the tensors'."""
    table, start = read_header(file)
    body = file.read_bytes()[start:]
    other = tmp_path / "other.safetensors"
    header = json.dumps({"__metadata__": {"format": "pt"}, **dict(sorted(table.items()))}) + "   "
    other.write_bytes(len(header).to_bytes(8, "little") + header.encode() + body)
    assert hash_of(other).tensors == hash_of(file).tensors
    assert hash_of(other).sha256 != hash_of(file).sha256


@pytest.mark.parametrize(
    "tensors",
    [
        {"b": ([2], [1.0, 2.0]), "a": ([1], [4.0])},
        {"b": ([2], [1.0, 2.0]), "c": ([1], [3.0])},
        {"b": ([2, 1], [1.0, 2.0]), "a": ([1], [3.0])},
        {"b": ([1], [1.0]), "a": ([2], [2.0, 3.0])},
        {"b": ([2], [1.0, 2.0])},
    ],
    ids=["a value", "a name", "a shape", "a border", "one less"],
)
def test_another_tensor_is_another_hash(
    file: Path, tmp_path: Path, tensors: dict[str, tuple[list[int], list[float]]]
) -> None:
    """Names, shapes and values count, and where one tensor ends and the next begins."""
    other = tmp_path / "other.safetensors"
    write_safetensors(other, tensors)
    assert hash_of(other).tensors != hash_of(file).tensors


def test_a_blob_has_the_hash_of_the_file_that_links_to_it(tiny: Path, hub_cache: Path) -> None:
    """In a Hub cache the tensors lie in a file whose name does not say what it is."""
    snapshot = add_to_hub_cache(hub_cache, "a/b", tiny, blobs=True)
    memo = HashMemo(None, clock=settled)
    linked = memo(snapshot / "model.safetensors")
    assert linked == hash_of(tiny / "model.safetensors")
    # Asked for by its own name it is just bytes, and that is not mixed up either.
    blob = (snapshot / "model.safetensors").resolve()
    assert memo(blob) == WeightsHash(linked.sha256, linked.sha256)
    assert memo(snapshot / "model.safetensors") == linked


def test_the_hash_of_a_pickle_is_that_of_its_bytes(tmp_path: Path) -> None:
    """Nothing is unpickled to look inside."""
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(b"bytes")
    assert hash_of(file) == WeightsHash(hash_of(file).sha256, hash_of(file).sha256)


def test_a_file_that_is_cut_off_while_it_is_read_is_damaged(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, and not a signal that kills the process."""
    table, start = read_header(file)
    rewrite(file, file.read_bytes()[:-4])
    monkeypatch.setattr(weights, "read_header", lambda _: (table, start))
    with pytest.raises(DamagedWeightsError, match=r"model\.safetensors was cut off while"):
        hash_of(file)


# --------------------------------------------------------------------------------------- the memo


def test_a_settled_file_is_hashed_once(file: Path, cache_dir: Path) -> None:
    """The second answer comes from memory, the third from the cache directory."""
    memo = HashMemo(cache_dir, clock=settled)
    first = memo(file)
    assert memo(file) == first
    assert memo.hashed == 1
    again = HashMemo(cache_dir)
    assert again(file) == first
    assert again.hashed == 0


@pytest.mark.parametrize(("age", "hashed"), [(0.0, 2), (1.9, 2), (2.1, 1)])
def test_a_file_younger_than_two_seconds_is_not_remembered(
    file: Path, cache_dir: Path, age: float, hashed: int
) -> None:
    """It may change again within the resolution of its time stamps."""
    born = max(os.stat(file).st_mtime, os.stat(file).st_ctime)
    memo = HashMemo(cache_dir, clock=lambda: born + age)
    assert memo(file) == memo(file)
    assert memo.hashed == hashed
    assert (cache_dir / "weights").exists() == (hashed == 1)


def test_a_long_reading_does_not_make_a_young_file_old(file: Path) -> None:
    """Its age is that before it was read: whatever was written since would not be seen."""
    born = os.stat(file).st_ctime
    times = iter([born, born + 100, born + 200])
    memo = HashMemo(None, clock=lambda: next(times))
    for _ in range(3):
        memo(file)
    assert memo.hashed == 2


def test_a_file_from_the_future_is_hashed_every_time(file: Path) -> None:
    """A clock that is behind the file system's costs time, and no wrong answer."""
    memo = HashMemo(None, clock=lambda: os.stat(file).st_ctime - 3600)
    assert memo(file) == memo(file)
    assert memo.hashed == 2


def grow(file: Path) -> None:
    write_safetensors(file, {**TENSORS, "more": ([1], [1.0])})


def edit(file: Path) -> None:
    rewrite(file, other_weights(file))


def edit_and_put_the_time_back(file: Path) -> None:
    before = os.stat(file)
    rewrite(file, other_weights(file))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(file).st_mtime_ns == before.st_mtime_ns


def replace_by_an_older_file(file: Path) -> None:
    before = os.stat(file)
    other = file.with_name("other")
    other.write_bytes(other_weights(file))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, file)


@pytest.mark.parametrize(
    "change", [grow, edit, edit_and_put_the_time_back, replace_by_an_older_file]
)
def test_a_changed_file_is_hashed_again(
    file: Path, cache_dir: Path, change: Callable[[Path], None]
) -> None:
    """By its size, its times (of which the user can set one only) or its inode."""
    memo = HashMemo(cache_dir, clock=settled)
    before = memo(file)
    change(file)
    after = memo(file)
    assert memo.hashed == 2
    assert after == hash_of(file)
    assert after.tensors != before.tensors
    assert HashMemo(cache_dir)(file) == after


def test_a_file_is_known_by_four_numbers(file: Path) -> None:
    """The inode too: a file system may give a file that was put in its place the same times."""
    found = os.stat(file)
    expected = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    assert stat_key(file) == expected


def test_a_touched_file_is_hashed_again_to_the_same(file: Path) -> None:
    """A new time stamp is a reason to look, and no change."""
    memo = HashMemo(None, clock=settled)
    before = memo(file)
    os.utime(file, (1, 1))
    assert memo(file) == before
    assert memo.hashed == 2


def test_two_files_of_one_content_are_two_entries(file: Path, tmp_path: Path) -> None:
    """A copy elsewhere is read; a link to the same file is not."""
    copy = Path(shutil.copy(file, tmp_path / "copy.safetensors"))
    link = tmp_path / "link.safetensors"
    link.symlink_to(file)
    memo = HashMemo(None, clock=settled)
    assert memo(file) == memo(copy) == memo(link)
    assert memo.hashed == 2


CHILD = """
import sys
from pathlib import Path
from pytest_embedcache.weights import HashMemo
memo = HashMemo(Path(sys.argv[1]))
print(memo(Path(sys.argv[2])).tensors, memo.hashed)
"""


def test_another_process_does_not_hash_again(file: Path, cache_dir: Path) -> None:
    """What one process remembered, the next one knows."""
    found = HashMemo(cache_dir, clock=settled)(file)
    assert python(CHILD, str(cache_dir), str(file)) == f"{found.tensors} 0"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\0" * 64,
        b"[" * 100_000,
        {"sha256": "short"},
        {"tensors": None},
        {"tensors": ["0" * 64]},
        {"file": "another"},
        {"stat": [1, 2, 3]},
        {"stat": "none"},
    ],
    ids=lambda content: str(content)[:20],
)
def test_a_damaged_memory_is_no_memory(
    file: Path, cache_dir: Path, content: bytes | dict[str, object]
) -> None:
    """The file is read, and what was damaged is written anew."""
    found = HashMemo(cache_dir, clock=settled)(file)
    (stored,) = (cache_dir / "weights").iterdir()
    if isinstance(content, dict):
        content = json.dumps(json.loads(stored.read_bytes()) | content).encode()
    stored.write_bytes(content)
    memo = HashMemo(cache_dir, clock=settled)
    assert memo(file) == found
    assert memo.hashed == 1
    assert HashMemo(cache_dir)(file) == found
    again = HashMemo(cache_dir)
    again(file)
    assert again.hashed == 0


def test_a_directory_that_cannot_be_written_costs_time_alone(file: Path, tmp_path: Path) -> None:
    """The hash is right, one notice says why it is made anew in every process."""
    (tmp_path / "blocked").write_bytes(b"")
    memo = HashMemo(tmp_path / "blocked" / "v1", clock=settled)
    assert memo(file) == hash_of(file)
    memo(file)
    assert memo.hashed == 1
    (message,) = notices.counts()
    assert message.startswith(f"the cache directory {tmp_path / 'blocked' / 'v1'} cannot be used")


def test_a_file_that_changes_while_it_is_read_is_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is of one state of the file, the last one."""
    read = weights._hash_file
    edits = iter([other_weights(file)])

    def and_edit(path: Path, *, safetensors: bool) -> WeightsHash:
        found = read(path, safetensors=safetensors)
        for content in edits:
            rewrite(file, content)
        return found

    monkeypatch.setattr(weights, "_hash_file", and_edit)
    memo = HashMemo(None, clock=settled)
    found = memo(file)
    assert memo.hashed == 2
    monkeypatch.undo()
    assert found == hash_of(file)


def test_a_file_that_never_stands_still_is_an_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three attempts, and without an endless loop."""
    read = weights._hash_file

    def and_edit(path: Path, *, safetensors: bool) -> WeightsHash:
        found = read(path, safetensors=safetensors)
        edit(file)
        return found

    monkeypatch.setattr(weights, "_hash_file", and_edit)
    memo = HashMemo(None, clock=settled)
    with pytest.raises(DamagedWeightsError, match="keeps changing"):
        memo(file)
    assert memo.hashed == 3
