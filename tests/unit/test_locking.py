"""One preparation at a time: whoever waits is told for whom, and nobody waits for the dead."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pytest

from pytest_embedcache.errors import LockTimeoutError, SettingsError
from pytest_embedcache.models import locking
from pytest_embedcache.models.locking import default_lock_timeout, machine_lock

HOLD = """
import sys
from pathlib import Path
from pytest_embedcache.models.locking import machine_lock
with machine_lock(Path(sys.argv[1]), "the model", timeout=60):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "model-1.5.lock"


class Announced(logging.Handler):
    """Sets an event when a line is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.event.set()


@pytest.fixture
def announced() -> Iterator[Announced]:
    handler = Announced()
    log = logging.getLogger(locking.__name__)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


# ----------------------------------------------------------------------------------------- waiting


def test_whoever_waits_is_told_who_holds_the_lock_and_then_gets_it(
    path: Path, announced: Announced
) -> None:
    """One line at WARNING with process and host; when the holder is done, the waiter goes on."""
    done: list[str] = []

    def wait() -> None:
        with machine_lock(path, "the model", timeout=60, announce_after=0.0):
            done.append("held")

    with holder(path) as process:
        thread = threading.Thread(target=wait)
        thread.start()
        assert announced.event.wait(60)
        assert done == []
    thread.join()
    assert done == ["held"]
    (line,) = announced.lines
    assert line.startswith(f"Waiting for the model, which process {process.pid} on ")
    assert line.endswith(" s) is preparing")


def test_after_the_deadline_there_is_an_error_with_the_holder(path: Path) -> None:
    """It names the work, the holder, the lock and what to do, and says how long it waited."""
    with holder(path) as process:
        lock = machine_lock(path, "the model", timeout=0.0, announce_after=0.0)
        with pytest.raises(LockTimeoutError) as caught, lock:
            raise AssertionError("two at a time")
    error = caught.value
    assert error.path == str(path)
    assert error.holder.startswith(f"process {process.pid} on ")
    assert 0.0 <= error.waited < 60.0
    assert f"for the model, which process {process.pid} on" in str(error)
    assert "raise EMBEDCACHE_LOCK_TIMEOUT" in str(error)


def test_a_deadline_before_the_announcement_announces_nothing(
    path: Path, announced: Announced
) -> None:
    """There is no wait any more that could be announced."""
    with holder(path):
        lock = machine_lock(path, "the model", timeout=0.0, announce_after=5.0)
        with pytest.raises(LockTimeoutError), lock:
            pass
    assert announced.lines == []


def test_an_uncontended_lock_is_silent(path: Path, announced: Announced) -> None:
    """Nobody is told anything, and the note about the holder is there only inside."""
    note = path.with_suffix(".holder")
    with machine_lock(path, "the model", timeout=0.0):
        assert json.loads(note.read_bytes())["pid"] == os.getpid()
    assert announced.lines == []
    assert not note.exists()


def test_two_threads_of_one_process_keep_each_other_away(path: Path) -> None:
    """The lock is between whoever asks, and not between processes alone."""
    seen: list[str] = []

    def ask() -> None:
        try:
            with machine_lock(path, "the model", timeout=0.0):
                seen.append("inside")
        except LockTimeoutError as error:
            seen.append(error.holder)

    with machine_lock(path, "the model", timeout=0.0):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    ask()
    assert seen[0].startswith(f"process {os.getpid()} on ")
    assert seen[1:] == ["inside"]


def test_an_error_inside_frees_the_lock(path: Path) -> None:
    """The next one does not wait."""
    with pytest.raises(ValueError, match="no model"), machine_lock(path, "it", timeout=0.0):
        raise ValueError("no model")
    with machine_lock(path, "it", timeout=0.0):
        pass


# -------------------------------------------------------------------------------------- the dead


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="only POSIX kills like this")
def test_a_killed_holder_frees_the_lock_at_once(path: Path) -> None:
    """Without waiting; the note that it left is of nobody, and is replaced."""
    with holder(path) as process:
        process.kill()
        process.wait()
        note = path.with_suffix(".holder")
        assert json.loads(note.read_bytes())["pid"] == process.pid
        with machine_lock(path, "the model", timeout=0.0):
            assert json.loads(note.read_bytes())["pid"] == os.getpid()
    assert not note.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pid": "x"}', b'{"pid": 1, "since": null}'])
def test_a_damaged_note_is_another_process(path: Path, content: bytes) -> None:
    """The note is for people: what cannot be read is left out."""
    with holder(path):
        path.with_suffix(".holder").write_bytes(content)
        with pytest.raises(LockTimeoutError) as caught:
            machine_lock(path, "the model", timeout=0.0).__enter__()
    assert caught.value.holder == "another process"


def test_a_note_that_cannot_be_written_is_left_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock holds without it."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(locking, "write_json", fail)
    with machine_lock(path, "the model", timeout=0.0):
        assert not path.with_suffix(".holder").exists()


# ------------------------------------------------------------------------- where no lock can be had


def test_a_lock_file_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    """Who asked knows what to do without."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="Not a directory"):
        machine_lock(tmp_path / "file" / "locks" / "x.lock", "it", timeout=0.0).__enter__()


def test_a_file_system_without_locks_is_an_os_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever way filelock says so; a lock that outlives its holder is not taken instead."""

    def missing(self: Any, **_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", missing)
    with pytest.raises(OSError, match="its file system has no locks"):
        machine_lock(path, "it", timeout=0.0).__enter__()


@pytest.mark.skipif(sys.platform == "win32", reason="flock is POSIX's")
def test_a_kernel_without_flock_is_an_os_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no warning, which a suite may have turned into an error of its own."""
    import fcntl

    def missing(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(OSError):  # noqa: PT011 - the text is the kernel's, or ours
        machine_lock(path, "it", timeout=0.0).__enter__()


# ------------------------------------------------------------------------------------- the setting


def test_the_deadline_is_the_environments_or_half_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """In seconds; after five of them a wait is announced."""
    assert locking.ANNOUNCE_AFTER == 5.0
    assert default_lock_timeout() == 1800.0
    monkeypatch.setenv("EMBEDCACHE_LOCK_TIMEOUT", "2.5")
    assert default_lock_timeout() == 2.5
    monkeypatch.setenv("EMBEDCACHE_LOCK_TIMEOUT", "")
    assert default_lock_timeout() == 1800.0


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan", "1e400"])
def test_a_bad_deadline_is_an_error_with_the_value(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """It names the variable, where it was given, and what can be."""
    monkeypatch.setenv("EMBEDCACHE_LOCK_TIMEOUT", value)
    with pytest.raises(SettingsError) as caught:
        default_lock_timeout()
    assert (caught.value.setting, caught.value.source) == ("EMBEDCACHE_LOCK_TIMEOUT", "environment")
    assert repr(value) in str(caught.value)
    assert "give a number of seconds, such as 600" in str(caught.value)
