"""Files appear whole or not at all, in directories that only the user can write."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_embedcache import notices
from pytest_embedcache.files import (
    cache_directory,
    make_directory,
    read_json,
    say_unusable,
    write_atomically,
    write_json,
)

posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def _open_umask() -> Iterator[None]:
    """A user whose new files everybody may write."""
    before = os.umask(0)
    yield
    os.umask(before)


# ------------------------------------------------------------------------------------- writing


@posix
@pytest.mark.usefixtures("_open_umask")
def test_a_written_file_is_whole_and_for_the_user_alone(tmp_path: Path) -> None:
    """The content is there, its mode is 0600 whatever the umask, and no other file is."""
    file = tmp_path / "new" / "file"
    write_atomically(file, b"content")
    assert file.read_bytes() == b"content"
    assert mode_of(file) == 0o600
    assert os.listdir(file.parent) == ["file"]


@pytest.mark.parametrize("failing", ["os.replace", "os.fsync"])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Neither a part of the new content nor a temporary file stays behind."""
    file = tmp_path / "file"
    write_atomically(file, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Ctrl-C between writing and publishing removes the temporary file."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []


def test_the_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order: write, flush to the disk, replace."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(handle: int) -> None:
        done.append(f"flushed {os.fstat(handle).st_size} bytes")
        fsync(handle)

    def replaced(source: str, target: str) -> None:
        done.append("replaced")
        replace(source, target)

    monkeypatch.setattr("os.fsync", flushed)
    monkeypatch.setattr("os.replace", replaced)
    write_atomically(tmp_path / "file", b"content")
    assert done == ["flushed 7 bytes", "replaced"]


@posix
def test_a_lasting_name_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the replacement its directory is flushed; one that cannot be is no error."""
    done: list[str] = []
    replace = os.replace

    def flushed(handle: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(handle).st_mode)
        done.append("flushed the directory" if is_directory else "flushed the file")
        if is_directory:
            raise OSError(22, "Invalid argument")

    def replaced(source: str, target: str) -> None:
        done.append("replaced")
        replace(source, target)

    monkeypatch.setattr("os.fsync", flushed)
    monkeypatch.setattr("os.replace", replaced)
    write_json(tmp_path / "file", {}, lasting=True)
    assert done == ["flushed the file", "replaced", "flushed the directory"]


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Any text survives, a lone surrogate of a file name too."""
    value = {"path": "/tmp/\udcff/é", "stat": [1, 2], "none": None}
    write_json(tmp_path / "file", value)
    assert read_json(tmp_path / "file") == value


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": 1', b"\xff\xfe\x00", b"\0" * 512, b"[" * 100_000],
    ids=["empty", "a bracket", "cut off", "no text", "zeros", "nothing but brackets"],
)
def test_a_file_that_is_not_json_reads_as_none(tmp_path: Path, content: bytes) -> None:
    """A damaged note is no note, and no error."""
    (tmp_path / "file").write_bytes(content)
    assert read_json(tmp_path / "file") is None


def test_what_is_no_file_reads_as_none(tmp_path: Path) -> None:
    """Neither a missing file nor a directory is an error."""
    assert read_json(tmp_path / "missing") is None
    assert read_json(tmp_path) is None


# --------------------------------------------------------------------------------- directories


@posix
@pytest.mark.usefixtures("_open_umask")
def test_new_directories_are_for_the_user_alone(tmp_path: Path) -> None:
    """Each one that is made has 0700, whatever the umask; the one that was there keeps its mode."""
    tmp_path.chmod(0o750)
    made = make_directory(tmp_path / "a" / "b" / "c")
    assert [mode_of(d) for d in (made, *made.parents[:3])] == [0o700, 0o700, 0o700, 0o750]
    assert notices.counts() == {}


@posix
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777], ids=oct)
def test_a_directory_that_others_can_write_is_warned_about_once(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log names it and the remedy; it keeps its mode, and is used."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    for _ in range(3):
        make_directory(shared)
    (line,) = caplog.messages
    assert str(shared) in line
    assert f"chmod go-w {shared}" in line
    assert mode_of(shared) == mode
    assert list(notices.counts().values()) == [3]


@posix
def test_a_cache_directory_that_others_can_write_is_warned_about_from_below(
    tmp_path: Path,
) -> None:
    """Who can write the directory that the user named can put another one below it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    below = cache_directory(shared) / "artifacts" / "snapshot"
    make_directory(below)
    make_directory(below / "again")  # everything between is our own by now
    (message,) = notices.counts()
    assert f"the cache directory {shared} can be written by others (mode 777)" in message


@posix
def test_what_lies_above_the_cache_directory_is_not_ours_to_judge(tmp_path: Path) -> None:
    """A parent of the directory that the user named is not warned about."""
    tmp_path.chmod(0o777)
    make_directory(cache_directory(tmp_path / "own") / "weights")
    assert notices.counts() == {}


@posix
def test_a_directory_with_the_sticky_bit_is_fine(tmp_path: Path) -> None:
    """In /tmp everybody writes, and nobody can move what is another's."""
    tmp_path.chmod(0o1777)
    make_directory(cache_directory(tmp_path) / "weights")
    assert notices.counts() == {}


def test_a_directory_below_a_file_is_an_os_error(tmp_path: Path) -> None:
    """The caller, who knows what it is for, says so and goes the slow way."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="Not a directory"):
        make_directory(tmp_path / "file" / "v1" / "weights")


def test_a_directory_that_somebody_else_makes_meanwhile_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that start at once both have it."""
    mkdir = Path.mkdir

    def twice(self: Path, mode: int = 0o777) -> None:
        mkdir(self, mode)
        mkdir(self, mode)

    monkeypatch.setattr(Path, "mkdir", twice)
    assert make_directory(tmp_path / "a" / "b").is_dir()


# --------------------------------------------------------------------------- where the cache is


def test_the_cache_directory_is_the_given_one_then_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument wins over `EMBEDCACHE_DIR`; everything is below the format's version."""
    monkeypatch.setenv("EMBEDCACHE_DIR", str(tmp_path / "env"))
    assert cache_directory(tmp_path / "given") == tmp_path / "given" / "v1"
    assert cache_directory() == tmp_path / "env" / "v1"
    assert os.listdir(tmp_path) == []


def test_the_cache_directory_is_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without argument and environment it is the platform's directory, of our name."""
    monkeypatch.delenv("EMBEDCACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = cache_directory()
    assert "embedcache" in found.parts
    assert found.is_relative_to(tmp_path) or os.name == "nt"


def test_a_relative_cache_directory_does_not_move_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made absolute when it is asked for, and `~` is the user's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory("cache") == tmp_path / "cache" / "v1"
    assert cache_directory("~/cache") == tmp_path / "home" / "cache" / "v1"


def test_a_cache_directory_that_cannot_be_used_is_said_once(tmp_path: Path) -> None:
    """The notice names the directory, the reason and the options; the second is only counted."""
    for _ in range(2):
        say_unusable(tmp_path, OSError(30, "Read-only file system"))
    ((message, count),) = notices.counts().items()
    assert str(tmp_path) in message
    assert "Read-only file system" in message
    assert "--embedcache-dir" in message
    assert count == 2


def test_nothing_is_written_that_is_not_json(tmp_path: Path) -> None:
    """A value without JSON is a mistake of ours, and leaves the old file."""
    write_json(tmp_path / "file", {"old": True})
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {"new": object()})
    assert json.loads((tmp_path / "file").read_text()) == {"old": True}
