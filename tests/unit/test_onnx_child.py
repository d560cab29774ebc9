"""Work in a process of its own: what comes back, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_embedcache.models.onnx.child import ChildError, RefusedError, run_in_child

HERE = "support.in_child"


def silent(stage: str) -> None:
    raise AssertionError(stage)


def test_arguments_go_there_and_the_result_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    """In another process, which says its stages, and whose own output nobody sees."""
    stages: list[str] = []
    found = run_in_child(f"{HERE}:echo", stages.append, value={"text": "é", "numbers": [1, 2.5]})
    assert found["value"] == {"text": "é", "numbers": [1, 2.5]}
    assert found["pid"] != os.getpid()
    assert found["path"] == sys.path
    assert stages == ["first", "second"]
    assert capfd.readouterr() == ("", "")


def test_a_refusal_comes_back_as_one() -> None:
    """With its reason, and apart from what fails."""
    with pytest.raises(RefusedError, match=r"^it has no tokenizer$"):
        run_in_child(f"{HERE}:refuse", silent, reason="it has no tokenizer")


def test_an_error_comes_back_as_the_last_line_of_the_log() -> None:
    """Whatever was printed before it."""
    with pytest.raises(ChildError, match=r"^ValueError: no such layer$"):
        run_in_child(f"{HERE}:fail", silent, message="no such layer")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_child_is_an_error() -> None:
    """By the kernel, say, for the memory that it took."""
    with pytest.raises(ChildError, match="it was killed"):
        run_in_child(f"{HERE}:kill", silent, number=int(signal.SIGKILL))


def test_warnings_of_the_child_are_no_errors_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """They concern the libraries that it uses, and are nobody's whose suite makes them errors."""
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert run_in_child(f"{HERE}:warn", silent) == "went on"


@pytest.mark.skipif(os.name != "posix", reason="signals, and pipes with names")
def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves nobody who goes on computing for it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        f"import sys; sys.path[:] = {json.dumps(sys.path)}; "
        "from pytest_embedcache.models.onnx.child import run_in_child; "
        f"run_in_child('{HERE}:wait', print, pipe={str(pipe)!r})"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent, pipe.open() as opened:
        assert opened.readline() == "here\n"
        parent.kill()
        assert opened.read() == ""  # which comes when the child, too, has ended
