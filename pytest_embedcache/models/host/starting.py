"""Starting a host: apart from the process that wanted it, which has no child to look after."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pytest_embedcache.errors import HostLostError
from pytest_embedcache.models.host.address import Address, known, private_directory
from pytest_embedcache.models.host.link import connect
from pytest_embedcache.models.host.process import SIGN, Job
from pytest_embedcache.models.host.surroundings import Surroundings
from pytest_embedcache.models.locking import machine_lock

__all__ = ["COMMAND", "start", "start_at"]

#: Seconds until a host listens; it imports no model's libraries for that.
PATIENCE = 60.0
#: Seconds after which the socket of a host that is gone is swept away.
_ABANDONED = 3600.0
#: Seconds for each, while somebody waits for a host of his own.
_TO_ANSWER = 0.5
#: Where the user has not said otherwise: OpenMP's threads that have to wait for each other sleep.
#: Else they spin, and where tests keep the cores busy one short text takes many times as long.
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
#: It sees the packages that whoever starts it sees, and not what lies in the working directory.
COMMAND = (
    sys.executable,
    *("-P", "-W", "ignore", "-c"),
    "import json, sys; told = json.loads(sys.stdin.readline()); sys.path[:] = told.pop('path');"
    " from pytest_embedcache.models.host.process import main; main(told['job'])",
)


def start_at(address: Address, job: Job, around: Surroundings | None = None) -> None:
    """Start a host at an address, unless somebody else has done so meanwhile.

    It has the surroundings that are given; None is for those of this process now.

    Raises `HostError`, `LockTimeoutError`, or `OSError`.
    """
    private_directory(address.path.parent, make=True)
    with machine_lock(address.lock, "the model host", timeout=2 * PATIENCE):
        try:
            connect(address)[0].close()
            return
        except TimeoutError as error:  # there is one, and it is busy: a second would double it
            raise HostLostError("it does not answer") from error
        except (OSError, ValueError):
            pass
        sweep(address.path.parent)
        start(job, around)


def sweep(folder: Path) -> None:
    """Remove what hosts have left there that were killed long ago."""
    for address in known(folder):
        with contextlib.suppress(FileNotFoundError):
            # A younger one may be about to be replaced by its next host.
            if time.time() - address.path.stat().st_mtime < _ABANDONED:
                continue
        try:
            connect(address, timeout=_TO_ANSWER)[0].close()
        except (ConnectionRefusedError, FileNotFoundError):
            for path in (address.path, address.secret):
                path.unlink(missing_ok=True)
        except (OSError, ValueError):
            pass  # slow, or of another kind: it is not ours to judge


def start(
    job: Job,
    around: Surroundings | None = None,
    *,
    command: Sequence[str] | None = None,
    patience: float = PATIENCE,
) -> None:
    """Start a host; it listens when this returns.

    Its surroundings are as in `start_at`. Raises `HostLostError` where it does not come to that in
    `patience` seconds.
    """
    around = around or Surroundings.now()
    told = {"job": job.as_dict(), "path": around.path}
    try:
        process = subprocess.Popen(
            command or COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),  # it keeps nobody from removing a directory
            env=_PATIENT | around.variables,
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
        process.stdin.write(json.dumps(told).encode() + b"\n")
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
    """The host's process, and whether it is ready: what it says after its sign."""
    with output:
        for line in output:
            sign, found, word = line.decode("utf-8", "replace").strip().partition(SIGN)
            if found and not sign:
                said.append(word)
            if len(said) == 2:
                return  # what is printed later is nobody's affair
