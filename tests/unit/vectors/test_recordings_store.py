"""Reading recordings: from their files, from an index, and past what is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.encoders import pure_vector
from support.recorded import entries, record

from pytest_embedcache import notices
from pytest_embedcache.errors import RecordingError
from pytest_embedcache.vectors import recordings as module
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.store import VectorStore
from pytest_embedcache.vectors.tiered import TieredStore


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three recorded texts, old enough for an index."""
    place = tmp_path / "recordings"
    record(place, tmp_path / "spool", "a", "b", "c")
    for path in place.rglob("*.json"):
        os.utime(path, (1e9, 1e9))
    return place


def opened(recordings: Path, *, strict: bool = True, index: Path | None = None) -> RecordingsStore:
    return RecordingsStore(recordings, strict=strict, index=index)


def all_keys(store: RecordingsStore) -> tuple[str, list[bytes]]:
    ((fingerprint, folder),) = store.folders().items()
    return fingerprint, sorted(folder.recorded())


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read and parsed."""
    found: list[str] = []
    real = module.read_recording

    def reading(path: str, *rest: object) -> object:
        found.append(path)
        return real(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_recording", reading)
    return found


def test_recordings_are_a_vector_store(recordings: Path) -> None:
    """What is recorded is found, what is not is absent, and both are remembered for the summary."""
    store = opened(recordings)
    assert isinstance(store, VectorStore)
    fingerprint, keys = all_keys(store)
    found = store.get_many(fingerprint, [*keys, bytes(32)])
    assert set(found) == set(keys)
    assert store.used == {fingerprint: set(keys)}
    assert store.missed == {fingerprint: {bytes(32)}}
    assert (store.stats().entries, store.stats().hits, store.stats().misses) == (3, 3, 1)
    assert not found[keys[0]].flags.writeable


def test_nothing_can_be_written_or_deleted(recordings: Path) -> None:
    """Whatever a cache does with it, the repository stays as it is."""
    before = entries(recordings)
    store = TieredStore([MemoryStore(), opened(recordings), MemoryStore()])
    fingerprint, keys = all_keys(opened(recordings))
    vector = pure_vector("x")
    store.put_many(fingerprint, {bytes(32): vector, keys[0]: vector})
    store.delete_many(fingerprint, keys)
    store.clear()
    assert entries(recordings) == before
    assert set(opened(recordings).get_many(fingerprint, [*keys, bytes(32)])) == set(keys)


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    """A suite without recordings is no error, and reading makes no directory."""
    store = opened(tmp_path / "none")
    assert store.get_many("a" * 64, [bytes(32)]) == {}
    assert store.stats().entries == 0
    store.close()
    assert not (tmp_path / "none").exists()


def test_other_files_beside_recordings_are_left_alone(recordings: Path) -> None:
    """A project's own package of that name, a README: not ours."""
    (recordings / "__init__.py").touch()
    (recordings / "fixtures").mkdir()
    (next(recordings.glob("m-*")) / "README.md").touch()
    store = opened(recordings)
    assert len(all_keys(store)[1]) == 3


def test_the_index_saves_reading_and_nothing_else(
    recordings: Path, tmp_path: Path, parsed: list[str]
) -> None:
    """A second process parses no file, and has the same bytes."""
    index = tmp_path / "index"
    first = opened(recordings, index=index)
    fingerprint, keys = all_keys(first)
    expected = {k: v.tobytes() for k, v in first.get_many(fingerprint, keys).items()}
    first.close()
    assert len(parsed) == 3
    second = opened(recordings, index=index)
    found = second.get_many(fingerprint, keys)
    assert {k: v.tobytes() for k, v in found.items()} == expected
    assert len(parsed) == 3
    assert not any(vector.flags.writeable for vector in found.values())


def test_two_processes_add_to_one_index(
    recordings: Path, tmp_path: Path, parsed: list[str]
) -> None:
    """What another process learnt meanwhile stays in it."""
    index = tmp_path / "index"
    stores = [opened(recordings, index=index) for _ in range(3)]
    fingerprint, keys = all_keys(stores[0])
    for store in stores:
        store.folders()  # all open it before any writes it
    for store, key in zip(stores, keys, strict=True):
        store.get_many(fingerprint, [key])
        store.close()
    assert len(parsed) == 3
    opened(recordings, index=index).get_many(fingerprint, keys)
    assert len(parsed) == 3


def test_a_changed_file_is_read_again(recordings: Path, tmp_path: Path, parsed: list[str]) -> None:
    """The index answers for a file as it was, not as it is now: a damaged one is found out."""
    index = tmp_path / "index"
    first = opened(recordings, index=index)
    fingerprint, keys = all_keys(first)
    first.get_many(fingerprint, keys)
    first.close()
    path = Path(first.folders()[fingerprint].file(keys[1]))
    path.write_bytes(path.read_bytes().replace(b'"role": null', b'"role":  "x"'))
    with pytest.raises(RecordingError) as caught:
        opened(recordings, index=index).get_many(fingerprint, keys)
    assert caught.value.path == str(path)
    path.unlink()
    assert len(opened(recordings, index=index).get_many(fingerprint, keys)) == 2


def test_a_file_that_was_just_written_is_not_indexed(tmp_path: Path, parsed: list[str]) -> None:
    """Its times could not show a second change within their resolution."""
    record(tmp_path / "recordings", tmp_path / "spool", "a")
    index = tmp_path / "index"
    parsed.clear()
    for expected in (1, 2):
        store = opened(tmp_path / "recordings", index=index)
        fingerprint, keys = all_keys(store)
        store.get_many(fingerprint, keys)
        store.close()
        assert len(parsed) == expected
    assert not index.exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no zip", b"\x93NUMPY"])
def test_a_damaged_index_is_made_anew(recordings: Path, tmp_path: Path, content: bytes) -> None:
    """It only saves time."""
    index = tmp_path / "index"
    for _ in range(2):
        store = opened(recordings, index=index)
        fingerprint, keys = all_keys(store)
        assert len(store.get_many(fingerprint, keys)) == 3
        store.close()
        (file,) = index.iterdir()
        assert np.load(file, allow_pickle=False)["keys"].shape == (3, 32)
        file.write_bytes(content)


def test_a_damaged_file_is_an_error_or_is_skipped_and_said_once(recordings: Path) -> None:
    """In replay it is named; in auto it is a miss, the others are found, and there is a notice."""
    store = opened(recordings, strict=False)
    fingerprint, keys = all_keys(store)
    path = Path(store.folders()[fingerprint].file(keys[0]))
    path.write_bytes(b"{}")
    for _ in range(2):
        assert set(store.get_many(fingerprint, keys)) == set(keys[1:])
    ((message, count),) = notices.counts().items()
    assert str(path) in message
    assert (count, store.stats().corrupt) == (2, 2)
    with pytest.raises(RecordingError, match="is missing"):
        opened(recordings).get_many(fingerprint, keys)


def test_a_damaged_header_is_an_error_or_leaves_its_model_out(recordings: Path) -> None:
    """The same for what stands in for the weights; a format of the future is one."""
    (header,) = recordings.glob("*/embedcache.json")
    header.write_bytes(header.read_bytes().replace(b"recordings 1", b"recordings 2"))
    with pytest.raises(RecordingError, match="recordings 2"):
        opened(recordings).folders()
    assert opened(recordings, strict=False).folders() == {}
    assert len(notices.counts()) == 1
