"""Several programs, each in a fork of one process that has imported what takes long to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_FORKS = """
import importlib, json, os, runpy, sys
plan = json.loads(sys.stdin.readline())
for name in plan["imports"]:
    importlib.import_module(name)
statuses = []
for number, (command, environment) in enumerate(plan["programs"]):
    child = os.fork()
    if not child:
        for stream in (1, 2):
            path = os.path.join(plan["folder"], f"{number}.{stream}")
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream)
        os.environ.update(environment)
        if command[0] == "-m":
            sys.argv = command[1:]
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = command
            runpy.run_path(command[0], run_name="__main__")
        sys.exit()
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(statuses))
"""


def run_each(
    imports: Sequence[str],
    programs: Sequence[tuple[Sequence[str], Mapping[str, str]]],
    folder: Path,
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
) -> list[subprocess.CompletedProcess[str]]:
    """Run `python COMMAND…` for each (command, more environment), one after the other.

    What they share is the import of `imports`: a fifth of a second's work in each instead of five
    seconds'. A program that is about that import, or that counts it, is none for this.
    """
    if not hasattr(os, "fork"):
        return [
            subprocess.run(
                [sys.executable, *command],
                env={**environment, **more},
                cwd=cwd,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            for command, more in programs
        ]
    folder.mkdir()
    plan = {"imports": list(imports), "programs": list(programs), "folder": str(folder)}
    ran = subprocess.run(
        [sys.executable, "-c", _FORKS],
        # One thread each: those of a library that has some already are in no fork.
        env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        cwd=cwd,
        input=json.dumps(plan) + "\n",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [
        subprocess.CompletedProcess(
            list(command),
            status,
            *((folder / f"{number}.{stream}").read_text(encoding="utf-8") for stream in (1, 2)),
        )
        for number, ((command, _), status) in enumerate(
            zip(programs, json.loads(ran.stdout), strict=True)
        )
    ]
