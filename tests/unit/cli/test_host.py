"""`embedcache host`: what there is, one that is started, and its end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hosts import LIGHT_HOST, LocalHost, Worker, ended, private_place, run_address
from support.models import tiny_bert

from pytest_embedcache.cli import main
from pytest_embedcache.errors import HostError
from pytest_embedcache.models.host import starting
from pytest_embedcache.models.host.address import Address, address_of, known
from pytest_embedcache.models.host.process import Job

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the test kills processes")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with private_place() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def test_without_a_host_there_is_nothing_to_show_or_to_stop(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing is made to find that out."""
    assert [main(["host", "status"]), main(["host", "stop"])] == [0, 0]
    assert capsys.readouterr().out == "no model host\n" * 2
    assert list(place.iterdir()) == []


def test_one_is_started_once_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second start finds the first; it is of the cache directory; stop ends its process."""
    monkeypatch.setattr(starting, "COMMAND", LIGHT_HOST)
    for _ in range(2):
        assert main(["host", "start", "--dir", str(tmp_path), "--idle-timeout", "60"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert known() == [address_of(str(tmp_path))]
    pid = int(first.split()[1])
    assert main(["host", "status"]) == 0
    assert capsys.readouterr().out.startswith(f"process {pid}  kept  0 min  ")
    assert main(["host", "stop"]) == 0
    assert capsys.readouterr().out == f"stopped process {pid}\n"
    assert ended(pid)
    assert known() == []


@pytest.mark.parametrize("told", ["cache", "~/cache", None])
def test_a_directory_is_the_one_that_a_run_would_use(
    told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the working directory, which is not the host's, or the user's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EMBEDCACHE_DIR", "cache")
    given: list[tuple[Address, str]] = []

    def start_at(address: Address, job: Job) -> None:
        given.append((address, job.cache_dir))
        raise HostError("that is enough")

    monkeypatch.setattr(starting, "start_at", start_at)
    assert main(["host", "start", *(["--dir", told] if told else [])]) != 0
    right = str(tmp_path / "cache")
    assert given == [(address_of(right), right)]


def test_a_runs_host_is_shown_and_stopped_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its models and what they did; `stop` alone leaves it to its run."""
    host = LocalHost(run_address())
    worker = Worker(host.address)
    worker.model(tiny_bert(tmp_path / "model")).encode(["a", "b"])
    assert main(["host", "status", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["hosts"]
    assert (row["kept"], row["models"][0]["loads"], row["asked"]) == (False, 1, {"gw0": 2})
    assert main(["host", "status"]) == 0
    shown = capsys.readouterr().out
    assert "(torch): loaded, 1 load" in shown
    assert "2 texts asked, 2 computed in 1 call, at most 2 at once" in shown
    assert main(["host", "stop"]) == 0
    assert capsys.readouterr().out == "no model host\n"
    assert main(["host", "stop", "--all"]) == 0
    host.wait()
    worker.link.close()


def test_one_that_does_not_answer_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    """A socket that nobody listens at is no host, and no error of the command."""
    host = LocalHost(run_address())
    host.life._mine = None  # it does not clean up
    host.end()
    assert main(["host", "status"]) == 0
    assert "of a run  does not answer" in capsys.readouterr().out
    assert main(["host", "stop", "--all"]) == 0
    assert capsys.readouterr().out == "no model host\n"
