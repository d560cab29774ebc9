"""What a builder may do, and what becomes of one that fails or is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.building import CONTENT, Builder, content_of, ensure, generations, home
from support.damage import rewrite

from pytest_embedcache.errors import ArtifactError, LockTimeoutError, SettingsError
from pytest_embedcache.models.artifacts import Artifact, ArtifactStore, Built


@pytest.fixture
def build() -> Builder:
    return Builder()


@pytest.mark.parametrize("error", [ValueError, ConnectionError, KeyboardInterrupt])
def test_a_failed_build_publishes_nothing_and_leaves_nothing(
    build: Builder, error: type[BaseException]
) -> None:
    """The caller gets the error, the next one builds."""

    def fail(directory: Path) -> Built:
        (directory / "half").write_bytes(b"half")
        raise error("no model")

    store = ArtifactStore()
    with pytest.raises(error, match="no model"):
        ensure(store, fail)
    assert os.listdir(home(store)) == []
    assert store.built == 0
    assert content_of(ensure(store, build)) == CONTENT
    assert len(generations(store)) == 1


def test_a_builder_that_names_a_file_it_did_not_make_is_an_error(build: Builder) -> None:
    """Nothing incomplete is published."""
    store = ArtifactStore()
    with pytest.raises(ArtifactError, match=r"artifact model-1: other\.bin was not made") as caught:
        ensure(store, lambda directory: Built([*build(directory).files, "other.bin"]))
    assert caught.value.key == "model-1"
    assert os.listdir(home(store)) == []


BUILD = """
import sys
from pathlib import Path
from pytest_embedcache.models.artifacts import ArtifactStore, Built

def build(directory):
    (directory / "half").write_bytes(b"half")
    print("building", flush=True)
    sys.stdin.read()

ArtifactStore().ensure("export", "model-1", build, what="it")
"""


@pytest.mark.skipif(os.name != "posix", reason="only POSIX kills like this")
def test_after_a_killed_builder_the_next_one_builds_at_once(build: Builder) -> None:
    """Its lock is free, its directory is removed, nothing of it is used."""
    child = subprocess.Popen(
        [sys.executable, "-c", BUILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "building\n"
    store = ArtifactStore(lock_timeout=0.0)
    (left,) = generations(store)
    with pytest.raises(LockTimeoutError, match=f"process {child.pid} on "):
        ensure(store, build)
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert content_of(ensure(store, build)) == CONTENT
    assert left not in generations(store)
    assert len(generations(store)) == 1


def test_an_artifact_may_stay_where_it_is(build: Builder, tmp_path: Path) -> None:
    """Nothing is copied; what lies there is verified all the same."""
    place = tmp_path / "hub"
    place.mkdir()
    calls: list[Path] = []

    def adopt(directory: Path) -> Built:
        calls.append(directory)
        (place / "weights").write_bytes(b"w")
        return Built(["weights"], root=str(place))

    store = ArtifactStore()
    for _ in range(2):
        found = ensure(store, adopt)
        assert (found.root, found.files) == (str(place), ("weights",))
    assert len(calls) == 1
    assert generations(store) == []
    rewrite(place / "weights", b"x")
    ensure(store, adopt)
    assert len(calls) == 2


def test_an_artifact_that_is_not_the_wanted_one_is_built_again(build: Builder) -> None:
    """`valid` decides, before the lock and again with it."""
    store = ArtifactStore()
    ensure(store, build)
    asked: list[int] = []

    def refuse_the_first(artifact: Artifact) -> bool:
        asked.append(artifact.details["call"])
        return artifact.details["call"] == 2

    assert ensure(store, build, valid=refuse_the_first).details == {"call": 2}
    assert ensure(store, build, valid=refuse_the_first).details == {"call": 2}
    assert asked == [1, 1, 2]
    assert store.corrupt == 0


def test_what_was_recorded_is_known_of_damaged_files_too(build: Builder) -> None:
    """Names and details; nothing where nothing was published."""
    store = ArtifactStore()
    assert store.recorded("export", "model-1") == ((), {})
    Path(ensure(store, build).root, "model.bin").unlink()
    names, details = store.recorded("export", "model-1")
    assert sorted(names) == sorted(CONTENT)
    assert details == {"call": 1}


def test_a_removed_artifact_is_gone(build: Builder) -> None:
    """True if there was one; the next call builds."""
    store = ArtifactStore()
    ensure(store, build)
    assert store.remove("export", "model-1")
    assert not store.remove("export", "model-1")
    assert store.get("export", "model-1") is None
    assert ensure(store, build).details == {"call": 2}


@pytest.mark.parametrize("name", ["", "..", "../other", "a/b", ".hidden", "-x", "a b", "é"])
def test_a_name_cannot_lead_out_of_the_store(build: Builder, name: str) -> None:
    """Neither as a kind nor as a key."""
    store = ArtifactStore()
    for kind, key in ((name, "key"), ("kind", name)):
        with pytest.raises(ArtifactError, match=r"Use \[A-Za-z0-9\._-\]"):
            store.ensure(kind, key, build, what="it")
    assert build.calls == 0


def test_the_environments_deadline_holds(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad one is an error before anything is built; a good one is used."""
    monkeypatch.setenv("EMBEDCACHE_LOCK_TIMEOUT", "soon")
    with pytest.raises(SettingsError, match="'soon'"):
        ensure(ArtifactStore(), build)
    assert build.calls == 0
    monkeypatch.setenv("EMBEDCACHE_LOCK_TIMEOUT", "0")
    store = ArtifactStore()
    with store.alone("export--model-1", "it"), pytest.raises(LockTimeoutError):
        ensure(store, build)
    ensure(store, build)
    assert build.calls == 1
