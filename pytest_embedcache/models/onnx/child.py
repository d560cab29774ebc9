"""Work that is done in a process of its own, because it imports torch, or takes much memory.

The process says nothing by itself: what libraries print goes into a log, which is shown where the
work fails. It ends when its parent does, however that ends.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

__all__ = ["ChildError", "RefusedError", "main", "run_in_child"]

Stage = Callable[[str], object]
#: Before anything is imported: the child sees the packages that its parent sees.
_START = (
    "import json, sys; job = json.loads(sys.stdin.readline()); sys.path[:] = job['path']; "
    f"from {__name__} import main; main(job)"
)


class RefusedError(Exception):
    """The work cannot be done, now or later; the message says why."""


class ChildError(Exception):
    """The process failed; the message is the last line of its log."""


def run_in_child(function: str, stage: Stage, **arguments: Any) -> Any:
    """What `function` ("module:name") returns in a fresh process, called with `arguments`.

    Arguments and result are made of what JSON has. `stage` is called with what it is doing now.

    Raises:
        RefusedError: It raised that.
        ChildError: It raised something else, or was killed.
    """
    job = {"path": sys.path, "function": function, "arguments": arguments}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        # Without the working directory on sys.path; its warnings concern nobody here.
        process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
        )
        try:
            found = _talk(process, job, stage)
        finally:
            # Whatever happens here, an interrupt too: nobody waits for it any more.
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                _close(pipe)
        if "refused" in found:
            raise RefusedError(found["refused"])
        if "result" not in found:
            log.seek(0)
            raise ChildError(_last_line(log.read()) or "it was killed")
        return found["result"]


def _talk(process: subprocess.Popen[str], job: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """Its last message; an empty one where it ended without."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()  # and stays open: its end is that of this process
    except BrokenPipeError:
        return {}
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if "stage" not in message:
            return message
        stage(message["stage"])
    return {}


def main(job: Mapping[str, Any]) -> None:
    """Do what the parent asks for; the whole life of the child."""
    # What is printed by whomever goes where errors go; the parent alone reads the first pipe.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    module, _, name = job["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        say(result=function(lambda what: say(stage=what), **job["arguments"]))
    except RefusedError as error:
        say(refused=str(error))
    except BaseException:
        sys.stdout.flush()  # what was printed before stands before the error in the log
        raise


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock a thread that waits here would hold at the end.
    while os.read(0, 1024):
        pass
    os._exit(1)


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # what it never came to read
        pass


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
