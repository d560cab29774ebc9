"""`embedcache recordings`: looking at the vectors of a repository, and checking them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.encoders import Files, PureBackend
from support.recorded import entries, record

from pytest_embedcache.cli import main
from pytest_embedcache.files import cache_directory
from pytest_embedcache.models import defaults
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.recordings_used import prune, remember_used

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    place = tmp_path / "recordings"
    record(place, tmp_path / "spool", "a cat", "a kitten", "one\ntwo")
    return place


@pytest.fixture
def run(recordings: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("show", …)` on these recordings: its exit status, and what it printed."""

    def call(command: str, *arguments: str) -> tuple[int, str]:
        status = main(["recordings", command, "--recordings", str(recordings), *arguments])
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    return call


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> PureBackend:
    """What stands for the real model."""
    backend = PureBackend(m=Files())
    monkeypatch.setattr(defaults, "backends", {"torch": backend})
    return backend


def test_show_lists_models_and_texts(run: Run, recordings: Path) -> None:
    """All texts, or those that contain a word; a damaged file is named, and counts."""
    status, shown = run("show")
    assert status == 0
    assert "m (float32, fingerprint " in shown
    assert "3 texts" in shown
    assert all(repr(text) in shown for text in ("a cat", "a kitten", "one\ntwo"))
    _, some = run("show", "kit")
    assert "'a kitten'" in some
    assert "'a cat'" not in some
    name = next(iter(entries(recordings)))
    (recordings / name).write_text("{}")
    status, shown = run("show")
    assert status == 1
    assert Path(name).name in shown


def test_without_recordings_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without any is an error, and none is made."""
    for command in ("show", "unused", "check"):
        assert main(["recordings", command, "--recordings", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert "there are no recordings" in said
    for remedy in ("--recordings", "EMBEDCACHE_RECORDINGS", "pytest --embedcache-mode=record"):
        assert said.count(remedy) == 3
    assert not (tmp_path / "none").exists()


def test_unused_needs_a_complete_run_and_then_lists_the_rest(run: Run, recordings: Path) -> None:
    """What the note of the last complete run does not have, with its file; pruning drops that."""
    status, shown = run("unused")
    assert status == 1
    assert "no complete run" in shown
    store = RecordingsStore(recordings, strict=True)
    ((fingerprint, folder),) = store.folders().items()
    texts = {folder.read(key).text: key for key in folder.recorded()}
    used = {fingerprint: {texts["a cat"].hex(), texts["one\ntwo"].hex()}}
    remember_used(cache_directory(), recordings, used)
    status, shown = run("unused")
    assert status == 0
    assert folder.file(texts["a kitten"]) in shown
    assert "1 unused" in shown
    assert prune(recordings, used) == 1
    assert len(entries(recordings)) == 2
    assert "0 unused" in run("unused")[1]


def test_what_was_recorded_since_is_not_called_unused(run: Run, recordings: Path) -> None:
    """The last complete run could not use it; it is counted, and its text is not listed."""
    remember_used(cache_directory(), recordings, {})
    (note,) = (cache_directory() / "recordings").glob("used-*.json")
    (newest,) = (name for name, text in entries(recordings).items() if b'"a kitten"' in text)
    for name in entries(recordings):
        os.utime(recordings / name, (1000, 1000))
    os.utime(note, (2000, 2000))
    os.utime(recordings / newest, (3000, 3000))
    status, shown = run("unused")
    assert status == 0
    assert "2 unused" in shown
    assert "1 left out: recorded after the last complete run" in shown
    assert "a kitten" not in shown


def test_a_model_of_which_nothing_is_used_goes_whole(recordings: Path) -> None:
    """Its header and its folders too."""
    assert prune(recordings, {}) == 3
    assert list(recordings.iterdir()) == []


def test_diff_tells_what_is_only_on_one_side_and_what_differs(
    run: Run, recordings: Path, tmp_path: Path
) -> None:
    """Against a copy: nothing; then a text more, a text less, a vector changed."""
    other = tmp_path / "other"
    shutil.copytree(recordings, other)
    assert run("diff", str(other))[0] == 0
    record(recordings, tmp_path / "spool", "only here")
    record(other, tmp_path / "spool", "only there")
    (name,) = (n for n, content in entries(other).items() if b'"a cat"' in content)
    (other / name).unlink()
    status, shown = run("diff", str(other))
    assert status == 1
    assert "2 only here, 1 only there, 0 with another vector" in shown
    assert "+ 'only here'" in shown
    assert "- 'only there'" in shown


def test_check_holds_recordings_to_the_model(run: Run, recordings: Path, real: PureBackend) -> None:
    """Computed anew, each alone: no drift, and a status of 0."""
    status, shown = run("check", "--all")
    assert status == 0, shown
    assert "3 of 3 texts computed anew: largest difference 0, smallest cosine 1.000000" in shown
    _, shown = run("check", "--sample", "2")
    assert "2 of 3 texts" in shown


def test_check_finds_drift(run: Run, recordings: Path, real: PureBackend) -> None:
    """A model that computes something else: the largest difference, and a status of 1."""

    def drifted(name: str) -> None:
        files = real.files[name]
        real.files[name] = Files(**{**vars(files), "weights": "drifted"})

    real.on_load = drifted
    status, shown = run("check", "--all")
    assert status == 1
    assert "3 beyond 1e-05 of the largest component" in shown
    real.files["m"] = Files()
    assert run("check", "--all", "--threshold", "100")[0] == 0


def test_check_says_where_the_model_is_another(
    run: Run, recordings: Path, real: PureBackend
) -> None:
    """Its fingerprint is not the recorded one: that alone is a status of 1."""
    real.files["m"] = Files(max_seq_length=64, weights="others")
    status, shown = run("check", "--threshold", "100")
    assert status == 1
    assert "the model here has fingerprint" in shown


def test_a_note_that_cannot_be_read_is_none(run: Run, recordings: Path) -> None:
    """Nothing is called unused by a damaged note."""
    remember_used(cache_directory(), recordings, {})
    (note,) = (cache_directory() / "recordings").glob("used-*.json")
    assert json.loads(note.read_text()) == {}
    note.write_text("[")
    assert run("unused")[0] == 1
