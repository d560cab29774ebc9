"""Starting a host: apart from the process that wanted it, which has no child to look after."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

from pytest_embedcache.errors import HostLostError
from pytest_embedcache.models.host.process import Job

__all__ = ["COMMAND", "start"]

#: Seconds until a host listens; it imports no model's libraries for that.
PATIENCE = 60.0
#: It sees the packages that whoever starts it sees, and not what lies in the working directory.
COMMAND = (
    sys.executable,
    *("-P", "-W", "ignore", "-c"),
    "import json, sys; told = json.loads(sys.stdin.readline()); sys.path[:] = told.pop('path');"
    " from pytest_embedcache.models.host.process import main; main(told['job'])",
)


def start(job: Job, *, command: Sequence[str] = COMMAND, patience: float = PATIENCE) -> None:
    """Start a host; it listens when this returns.

    Raises `HostLostError` where it does not come to that in `patience` seconds.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),  # it keeps nobody from removing a directory
            start_new_session=True,
        )
    except OSError as error:
        raise HostLostError(f"it could not be started: {error}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    said: list[str] = []
    # In a thread: a pipe cannot be read with a time limit everywhere.
    reader = threading.Thread(target=_read, args=(process.stdout, said), daemon=True)
    reader.start()
    with contextlib.suppress(OSError):  # it ended at once: then there is no answer either
        process.stdin.write(json.dumps({"job": job.as_dict(), "path": sys.path}).encode() + b"\n")
    with contextlib.suppress(OSError):
        process.stdin.close()
    reader.join(patience)
    late = reader.is_alive()
    if late:
        process.kill()
        for line in said:  # the host itself, which is no child of this process
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(line), getattr(signal, "SIGKILL", signal.SIGTERM))
    if os.name == "posix" or late:
        process.wait()
    else:
        process.returncode = 0  # where nothing forks, it is the host, and lives on
    if said[-1:] != ["ready"]:
        why = f"not ready in {patience:g} s" if late else (said or [""])[-1] or "it ended at once"
        raise HostLostError(f"it could not be started: {why}")


def _read(output: IO[bytes], said: list[str]) -> None:
    """The host's process, and whether it is ready, a line each."""
    with output:
        for line in (output.readline, output.readline):
            said.append(line().decode("utf-8", "replace").strip())
