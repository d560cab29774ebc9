"""What is removed, and what is vouched for, is no more than what an index has written itself."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_embedcache.errors import IndexDamagedError
from pytest_embedcache.search import making, writing
from pytest_embedcache.search.index import VectorIndex
from pytest_embedcache.search.manifest import Manifest
from pytest_embedcache.search.semantic.builds import Builds
from pytest_embedcache.search.semantic.finding import Finding
from pytest_embedcache.search.semantic.index import SemanticIndex
from pytest_embedcache.search.vectors import Entries

NOTHING = np.empty(0, np.int64)


def _entries(*ids: int) -> Entries:
    vectors = np.ones((len(ids), 2), np.float32)
    return Entries(np.array(ids, np.int64), vectors, np.ones(len(ids)))


def test_a_build_published_during_a_sweep_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep asks once more which build answers, when it holds the build's lock."""
    builds = Builds(tmp_path)
    build = tmp_path / f"build-{'a' * 16}"
    build.mkdir()
    answers = [None]
    monkeypatch.setattr(Builds, "current", lambda _: answers.pop() if answers else build)
    builds.sweep()
    assert build.is_dir()


def test_a_sweep_of_builds_leaves_foreign_directories(tmp_path: Path) -> None:
    """Only directories named as builds are named go."""
    for name in ("build-release", "build-abc", f"build-{'b' * 16}"):
        (tmp_path / name).mkdir()
    Builds(tmp_path).sweep()
    assert sorted(p.name for p in tmp_path.glob("build-*")) == ["build-abc", "build-release"]


def test_a_sweep_of_generations_leaves_foreign_files(tmp_path: Path) -> None:
    """Only files named as those of a generation go."""
    for name in ("my-notes.txt", "rows-of.csv", "rows-0123abcd.f32", "vec-0123abcd.sqlite-wal"):
        (tmp_path / name).touch()
    writing.sweep(tmp_path, Manifest(2, "dot", "ffffffff"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my-notes.txt", "rows-of.csv"]


def test_an_interrupt_after_the_manifest_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the manifest names by then is not discarded."""
    write = Manifest.write

    def interrupted(self: Manifest, directory: Path) -> Manifest:
        write(self, directory)
        raise KeyboardInterrupt

    monkeypatch.setattr(Manifest, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        making.write_whole(tmp_path, Manifest(2, "dot", ""), [_entries(1, 2)], "exact")
    Manifest.read(tmp_path).check_rows(tmp_path)


@pytest.mark.parametrize("damage", [lambda b: b[:-4], lambda b: b"\x01" + b[1:]])
def test_damaged_rows_are_not_appended_to(tmp_path: Path, damage: object) -> None:
    """Rows that are too short, or others, are told of instead of vouched for anew."""
    manifest = writing.write_generation(tmp_path, Manifest(2, "dot", ""), [_entries(1, 2)])
    rows = manifest.rows_path(tmp_path)
    content = damage(rows.read_bytes())  # type: ignore[operator]
    rows.unlink()
    rows.write_bytes(content)
    with pytest.raises(IndexDamagedError):
        writing.append(tmp_path, manifest, _entries(3), NOTHING)
    assert rows.read_bytes() == content


def test_a_manifests_length_tells_of_the_commit_alone(tmp_path: Path) -> None:
    """Two commits in a row never have the same length, whatever their checksums."""
    lengths = set()
    for commit in range(200):
        Manifest(2, "dot", "ab", commit, rows_crc=10 ** (commit % 10)).write(tmp_path)
        lengths.add((tmp_path / "index.json").stat().st_size)
    assert len(lengths) == 200


def test_a_writer_does_not_trust_the_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit whose manifest looks like the one before it is not lost."""
    ones = np.ones((1, 2), np.float32)
    with VectorIndex.open(tmp_path, dimension=2) as one, VectorIndex.open(tmp_path) as other:
        one.add([1], ones)
        monkeypatch.setattr("pytest_embedcache.search.opened.is_current", lambda *_: True)
        other.add([2], ones)
        assert len(other) == 2


def test_the_model_is_compared_with_the_build_that_answers() -> None:
    """A build of another model, published while the query was encoded, gets no vector of it."""

    class Build:
        def keyword_results(self, *args: Any) -> Any:
            return args[-1]

    class Found(Finding):
        notices = ["another model", None]
        _model: Any = SimpleNamespace(query=lambda *_, **__: SimpleNamespace(notice=None, vector=1))
        _opened: Any = SimpleNamespace(answer=lambda ask: ask(Build()))

        def _without(self, build: Any) -> Any:
            return self.notices.pop()

    assert Found().search("text") == "another model"


@pytest.mark.skipif(os.name != "posix", reason="directories are flushed where that can be done")
@pytest.mark.parametrize("of", ["vectors", "texts"])
def test_nothing_old_goes_before_the_new_name_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    """Else a loss of power could leave a name of what is gone."""
    index = VectorIndex.open(tmp_path, dimension=2) if of == "vectors" else SemanticIndex(tmp_path)
    pointer = "index.json" if of == "vectors" else "current.json"
    done: list[str] = []

    def told(module: Any, name: str, what: Callable[..., str | None]) -> None:
        real = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            if (said := what(*args)) is not None:
                done.append(said)
            return real(*args, **options)

        monkeypatch.setattr(module, name, call)

    told(os, "replace", lambda _, new: "renamed" if Path(new).name == pointer else None)
    told(os, "fsync", lambda n: "flushed" if stat.S_ISDIR(os.fstat(n).st_mode) else None)
    told(Path, "unlink", lambda path, **_: "removed" if path.name.startswith("rows-") else None)
    told(shutil, "rmtree", lambda *_: "removed")
    if isinstance(index, VectorIndex):
        index.rebuild()
    else:
        SemanticIndex.build(tmp_path, [])
    assert done[-3:] == ["renamed", "flushed", "removed"]
