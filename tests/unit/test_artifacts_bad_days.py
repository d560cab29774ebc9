"""Where the cache directory cannot be used: one notice, and the right result, the slow way."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from support.children import python

from pytest_embedcache import notices
from pytest_embedcache.errors import ArtifactError, FetchError
from pytest_embedcache.models import generations, locking
from pytest_embedcache.models.artifacts import Artifact, ArtifactStore, Built
from pytest_embedcache.models.generations import new_generation, remove_abandoned


def build(directory: Path) -> Built:
    (directory / "model").write_bytes(b"weights")
    return Built(["model"], details={"made": True})


def ensure(store: ArtifactStore, builder: Any = build) -> Artifact:
    return store.ensure("export", "model-1", builder, what="the export")


def assert_sound(artifact: Artifact) -> None:
    assert Path(artifact.root, "model").read_bytes() == b"weights"
    assert artifact.details == {"made": True}


@pytest.fixture
def blocked(tmp_path: Path) -> ArtifactStore:
    """A store where nothing can be written, not even by root: its directory is below a file."""
    (tmp_path / "file").write_bytes(b"")
    return ArtifactStore(tmp_path / "file" / "cache")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


# ------------------------------------------------------------------------- read-only, full, nothing


def test_a_directory_that_cannot_be_written_is_one_notice_and_the_right_result(
    blocked: ArtifactStore, temporary: Path
) -> None:
    """Built for this process alone; what was built goes with the store."""
    for _ in range(2):
        assert_sound(ensure(blocked))
    assert blocked.built == 2
    ((message, count),) = notices.counts().items()
    assert message.startswith(f"the cache directory {blocked.directory} cannot be used (")
    assert "EMBEDCACHE_DIR" in message
    assert count == 2
    assert len(os.listdir(temporary)) == 2


def test_what_was_built_for_one_process_goes_with_its_store(
    tmp_path: Path, temporary: Path
) -> None:
    """Nothing stays in the temporary directory; a failed build leaves nothing at once."""
    (tmp_path / "file").write_bytes(b"")
    store = ArtifactStore(tmp_path / "file" / "cache")

    def fail(directory: Path) -> Built:
        build(directory)
        raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        ensure(store, fail)
    with pytest.raises(ArtifactError, match="other was not made"):
        ensure(store, lambda directory: Built(["other"]))
    assert os.listdir(temporary) == []
    assert_sound(ensure(store))
    assert len(os.listdir(temporary)) == 1
    del store
    gc.collect()
    assert os.listdir(temporary) == []


def test_where_nothing_can_be_written_a_builder_that_only_looks_does_without(
    blocked: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only container with the model in its image: it is used where it is."""
    (tmp_path / "hub").mkdir()
    build(tmp_path / "hub")

    def nowhere(*_: object, **__: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "mkdtemp", nowhere)
    found = ensure(blocked, lambda _: Built(["model"], str(tmp_path / "hub"), {"made": True}))
    assert_sound(found)
    with pytest.raises(OSError, match="Not a directory"):
        ensure(blocked, build)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_a_full_disk_is_one_notice_and_the_right_result(code: int) -> None:
    """The build starts anew beside the cache directory; in there nothing is left."""
    store = ArtifactStore()
    seen: list[Path] = []

    def until_it_is_full(directory: Path) -> Built:
        seen.append(directory)
        if directory.is_relative_to(store.directory):
            (directory / "half").write_bytes(b"half")
            raise OSError(code, os.strerror(code))
        return build(directory)

    assert_sound(ensure(store, until_it_is_full))
    assert len(seen) == 2
    (message,) = notices.counts()
    assert os.strerror(code) in message
    assert os.listdir(store.directory / "artifacts" / "export" / "model-1") == []


def test_an_error_of_the_network_is_not_taken_for_a_full_disk() -> None:
    """It is an `OSError` too, and the builder is not asked twice."""
    calls = []

    def fail(directory: Path) -> Built:
        calls.append(directory)
        raise FetchError("m", "the Hub cannot be reached", "Wait.")

    with pytest.raises(FetchError):
        ensure(ArtifactStore(), fail)
    assert len(calls) == 1
    assert notices.counts() == {}


FULL = """
import json, resource, sys
from pathlib import Path
from pytest_embedcache import notices
from pytest_embedcache.models.artifacts import ArtifactStore, Built
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
store = ArtifactStore()
found = store.ensure("export", "model-1", lambda _: Built(["model"], sys.argv[1]), what="it")
print(json.dumps([found.root, found.files, list(notices.counts().items()), store.built]))
"""


@pytest.mark.skipif(os.name != "posix", reason="the limit is POSIX's")
def test_a_manifest_that_does_not_fit_on_the_disk_is_one_notice(tmp_path: Path) -> None:
    """The kernel refuses every byte: what was built serves this process, and the next builds."""
    import json

    build(tmp_path)
    root, files, said, built = json.loads(python(FULL, str(tmp_path)))
    assert (root, files, built) == (str(tmp_path), ["model"], 1)
    ((message, count),) = said
    assert "cannot be used (File too large)" in message
    assert count == 1
    store = ArtifactStore()
    assert store.get("export", "model-1") is None
    assert [*store.directory.rglob("*.tmp")] == []
    assert_sound(ensure(store))


FORK = """
import os, sys, tempfile
from pathlib import Path
from pytest_embedcache.models.artifacts import ArtifactStore, Built
tempfile.tempdir = sys.argv[1]

def build(directory):
    (directory / "model").write_bytes(b"weights")
    return Built(["model"])

store = ArtifactStore(sys.argv[2])
found = store.ensure("export", "model-1", build, what="it")
child = os.fork()
if not child:
    sys.exit(0)  # as a worker ends that was forked
os.waitpid(child, 0)
print(os.path.exists(os.path.join(found.root, "model")), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_that_ends_does_not_take_its_parents_files_along(tmp_path: Path) -> None:
    """Only the process that made the temporary directory removes it."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "tmp").mkdir()
    assert python(FORK, str(tmp_path / "tmp"), str(tmp_path / "file" / "cache")) == "True"
    assert os.listdir(tmp_path / "tmp") == []


# ------------------------------------------------------------------------------------- what is left


@pytest.fixture
def ended() -> int:
    """The id of a process that does not run any more."""
    return int(python("import os; print(os.getpid())"))


def test_what_dead_builders_left_is_removed(
    tmp_path: Path, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a manifest that was being written; not what is current, nor what is not ours."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: ended)
        dead, current = new_generation(tmp_path), new_generation(tmp_path)
    (dead / "half").write_bytes(b"half")
    (tmp_path / ".manifest.json.x.tmp").write_bytes(b"half")
    (tmp_path / "manifest.json").write_bytes(b"{}")
    (tmp_path / "somebodys").mkdir()
    remove_abandoned(tmp_path, keep=current.name)
    assert sorted(os.listdir(tmp_path)) == sorted([current.name, "manifest.json", "somebodys"])


def test_what_may_be_in_use_stays_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where locks do nothing, a builder that runs here or elsewhere is not robbed."""
    ours = new_generation(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(generations, "_host", lambda: "0" * 8)
        elsewhere = new_generation(tmp_path)
    remove_abandoned(tmp_path, keep=None)
    assert sorted(os.listdir(tmp_path)) == sorted([ours.name, elsewhere.name])
    for directory in (ours, elsewhere):
        os.utime(directory, (time.time() - 90_000, time.time() - 90_000))
    remove_abandoned(tmp_path, keep=None)
    assert os.listdir(tmp_path) == []


def test_where_locks_do_nothing_two_builders_are_both_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One builds within the other's build: both results are whole, and one of them is published."""
    monkeypatch.setattr(locking, "machine_lock", lambda *_, **__: contextlib.nullcontext())
    one, other = ArtifactStore(), ArtifactStore()
    inner: list[Artifact] = []

    def while_another_builds(directory: Path) -> Built:
        (directory / "early").write_bytes(b"x")
        inner.append(ensure(other))
        assert (directory / "early").exists()
        return build(directory)

    outer = ensure(one, while_another_builds)
    assert_sound(outer)
    assert_sound(inner[0])
    assert outer.root != inner[0].root
    found = ArtifactStore().get("export", "model-1")
    assert found == outer
    assert notices.counts() == {}
