"""Functions that a child process is asked to call."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from pytest_embedcache.models.onnx.child import RefusedError

Stage = Callable[[str], object]


def echo(stage: Stage, value: Any) -> dict[str, Any]:
    print("on standard output")
    print("on standard error", file=sys.stderr)
    os.write(1, b"past Python\n")
    stage("first")
    stage("second")
    return {"value": value, "pid": os.getpid(), "path": sys.path}


def refuse(stage: Stage, reason: str) -> None:
    raise RefusedError(reason)


def fail(stage: Stage, message: str) -> None:
    print("before it")
    raise ValueError(message)


def kill(stage: Stage, number: int) -> None:
    os.kill(os.getpid(), number)


def warn(stage: Stage) -> str:
    warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    return "went on"


def wait(stage: Stage, pipe: str) -> None:
    with open(pipe, "w") as opened:
        opened.write("here\n")
        opened.flush()
        threading.Event().wait()
