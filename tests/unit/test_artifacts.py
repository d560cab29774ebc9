"""Artifacts: built once, published whole, verified when used."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.building import CONTENT, Builder, content_of, ensure, home
from support.damage import rewrite

from pytest_embedcache.models import locking
from pytest_embedcache.models.artifacts import Artifact, ArtifactStore, Built


@pytest.fixture
def build() -> Builder:
    return Builder()


# -------------------------------------------------------------------------------------------- once


def test_an_artifact_is_built_once(build: Builder) -> None:
    """The second call, another store and another name for the lock find it."""
    store, other = ArtifactStore(), ArtifactStore()
    first = ensure(store, build)
    assert ensure(store, build) == ensure(other, build, lock="another") == first
    assert other.get("export", "model-1") == first
    assert (build.calls, store.built, other.built) == (1, 1, 0)
    assert content_of(first) == CONTENT
    assert first.files == tuple(sorted(CONTENT))
    assert first.details == {"call": 1}


def test_nothing_is_there_before_it_is_built() -> None:
    """`get` neither builds nor creates a directory, and counts no damage."""
    store = ArtifactStore()
    assert store.get("export", "model-1") is None
    assert not store.directory.exists()
    assert store.corrupt == 0


def test_whoever_waited_looks_again_before_building() -> None:
    """Two at once: one builds, the other finds what was built when the lock is free."""
    building, waiting, go_on = threading.Event(), threading.Event(), threading.Event()
    first, second = Builder(), Builder()
    stores = ArtifactStore(), ArtifactStore(announce_after=0.0)
    found: list[Artifact] = []

    def slow(directory: Path) -> Built:
        building.set()
        go_on.wait()
        return first(directory)

    class Announced(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waiting.set()

    log, handler = logging.getLogger(locking.__name__), Announced()
    log.addHandler(handler)
    one = threading.Thread(target=lambda: found.append(ensure(stores[0], slow)))
    other = threading.Thread(target=lambda: found.append(ensure(stores[1], second)))
    one.start()
    building.wait()
    other.start()
    try:
        assert waiting.wait(60)
    finally:
        go_on.set()
        one.join()
        other.join()
        log.removeHandler(handler)
    assert (first.calls, second.calls) == (1, 0)
    assert [store.built for store in stores] == [1, 0]
    assert found[0] == found[1]


def test_two_keys_are_two_artifacts(build: Builder) -> None:
    """Neither by kind nor by key does one stand for the other."""
    store = ArtifactStore()
    made = [
        store.ensure(kind, key, build, what="it")
        for kind, key in (("export", "a"), ("export", "b"), ("other", "a"))
    ]
    assert build.calls == 3
    assert len({artifact.root for artifact in made}) == 3


# ---------------------------------------------------------------------------------------- verified


def no_hash(_: str) -> str:
    raise AssertionError("a file was hashed")


def test_a_sound_artifact_is_known_by_its_stat(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hit reads the manifest and looks at the files, and does not read them."""
    store = ArtifactStore()
    ensure(store, build)
    monkeypatch.setattr(store, "_sha256", no_hash)
    assert ensure(store, build).details == {"call": 1}


def touch(file: Path) -> None:
    os.utime(file, (1, 1))


def copy_anew(file: Path) -> None:
    other = file.with_name("copy")
    shutil.copy(file, other)
    os.replace(other, file)


@pytest.mark.parametrize("change", [touch, copy_anew])
def test_a_touched_artifact_is_adopted_as_it_is_now(
    build: Builder, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """Same bytes: no build, and the next look hashes nothing any more."""
    store = ArtifactStore()
    change(Path(ensure(store, build).root, "model.bin"))
    assert content_of(ensure(store, build)) == CONTENT
    assert (build.calls, store.corrupt) == (1, 0)
    monkeypatch.setattr(store, "_sha256", no_hash)
    ensure(store, build)


def test_the_whole_cache_directory_can_be_moved(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was built below it is found below its new place."""
    ensure(ArtifactStore(tmp_path / "old"), build)
    (tmp_path / "old").rename(tmp_path / "new")
    found = ensure(ArtifactStore(tmp_path / "new"), build)
    assert content_of(found) == CONTENT
    assert build.calls == 1


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    rewrite(file, bytes(content))


def cut_off(file: Path) -> None:
    rewrite(file, file.read_bytes()[:-1])


def make_a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [flip, cut_off, Path.unlink, make_a_directory])
@pytest.mark.parametrize("name", CONTENT)
def test_a_damaged_artifact_is_built_again(
    build: Builder, damage: Callable[[Path], None], name: str
) -> None:
    """One flipped bit, a missing byte, a missing file: found, counted, and mended."""
    store = ArtifactStore()
    damage(Path(ensure(store, build).root, name))
    assert store.get("export", "model-1") is None
    assert content_of(ensure(store, build)) == CONTENT
    assert build.calls == 2
    assert store.corrupt == 3  # looked at by `get`, and twice by `ensure`
    assert ensure(ArtifactStore(), build).details == {"call": 2}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\0" * 100,
        {"files": {}},
        {"details": {"call": 7}},
        {"root": ".."},
        {"check": "0" * 64},
        {"check": None},
    ],
    ids=str,
)
def test_a_damaged_manifest_is_built_again(build: Builder, content: Any) -> None:
    """Also where it is JSON that another hand wrote: it has a checksum of itself."""
    store = ArtifactStore()
    ensure(store, build)
    manifest = home(store) / "manifest.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(manifest.read_bytes()) | content).encode()
    manifest.write_bytes(content)
    assert ensure(store, build).details == {"call": 2}
    assert build.calls == 2
    assert store.corrupt == 2


def test_a_manifest_of_another_format_is_no_damage(build: Builder) -> None:
    """A later version wrote it: it is not used, and not counted."""
    store = ArtifactStore()
    ensure(store, build)
    (home(store) / "manifest.json").write_text('{"format": 2}')
    assert store.get("export", "model-1") is None
    assert store.corrupt == 0


def test_adopting_does_not_overwrite_what_somebody_published_meanwhile(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look that takes no lock may be slow; the newer manifest stays."""
    store, other = ArtifactStore(), ArtifactStore()
    touch(Path(ensure(store, build).root, "model.bin"))
    real = store._sha256

    def while_another_builds(path: str) -> str:
        monkeypatch.setattr(store, "_sha256", real)
        ensure(other, build, valid=lambda artifact: artifact.details["call"] == 2)
        return real(path)

    monkeypatch.setattr(store, "_sha256", while_another_builds)
    assert ensure(store, build).details == {"call": 1}
    assert ensure(ArtifactStore(), build).details == {"call": 2}
