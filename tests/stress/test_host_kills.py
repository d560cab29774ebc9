"""Hosts that are killed under their workers: no vector is wrong, and no process stays."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.children import python_path
from support.hosts import private_place, run_address
from support.models import tiny_bert

from pytest_embedcache.models.host.lifeline import is_over
from pytest_embedcache.models.host.link import ask_once

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@pytest.mark.parametrize(
    ("workers", "rounds"), [(3, 6), pytest.param(8, 1000, marks=pytest.mark.stress)]
)
def test_no_vector_is_wrong_and_no_process_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, rounds: int
) -> None:
    """In each round workers start a host, use two models of it, and it is killed or stopped by
    SIGSTOP and then killed; every vector is compared with the one right one."""
    models = [str(tiny_bert(tmp_path / f"model{n}", seed=n)) for n in range(2)]
    draw = random.Random(0)
    with private_place() as place, contextlib.ExitStack() as stack:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        address = run_address()
        code = "import sys; from support.host_herd import main; main(*sys.argv[1:])"
        command = [sys.executable, "-c", code, str(address.path), str(os.getpid()), *models]
        herd = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": python_path("tests")},
                    text=True,
                )
            )
            for _ in range(workers)
        ]
        told: list[dict[str, Any]] = []
        hosts: set[int] = set()
        for number in range(rounds):
            for worker in herd:
                assert worker.stdin is not None
                worker.stdin.write(f"{number}\n")
                worker.stdin.flush()
            if number:  # in the first nobody is killed
                hosts |= kill_after(draw.random() * 0.1, address)
            for worker in herd:
                assert worker.stdin is not None
                worker.stdin.write("\n")
                worker.stdin.flush()
            for worker in herd:
                assert worker.stdout is not None
                told.append(json.loads(worker.stdout.readline()))
        for worker in herd:
            assert worker.stdin is not None
            worker.stdin.close()
            assert worker.wait(60) == 0
        with contextlib.suppress(OSError):
            ask_once(address, {"do": "stop"})
        hosts |= {row["pid"] for row in told if row["pid"] is not None}
        until = time.monotonic() + 30
        while (left := [pid for pid in hosts if not over(pid)]) and time.monotonic() < until:
            time.sleep(0.05)
        assert left == []
    assert [sum(row[what] for row in told) for what in ("wrong", "errors")] == [0, 0]
    assert len(told) == workers * rounds
    assert [row["loads"] for row in told[:workers]] == [0] * workers
    # The campaign was one: hosts were asked, lost, and started anew.
    assert sum(row["asked"] for row in told) > 10 * rounds
    lost = sum(row["lost"] for row in told)
    assert len(hosts) > rounds // 4
    assert lost > rounds // 8
    print(f"{len(hosts)} hosts, {lost} times lost by a worker")


def over(pid: int) -> bool:
    told = is_over(pid)
    return told is not None and told()


def kill_after(seconds: float, address: Any) -> set[int]:
    """Kill the host there so long after it can be found; its process, if there is one."""
    until = time.monotonic() + 10
    while not address.path.exists() and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(seconds)
    try:
        pid: int = ask_once(address, {"do": "stats"})["pid"]
    except (OSError, ValueError):
        return set()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds % 0.01)
    os.kill(pid, signal.SIGKILL)
    return {pid}
