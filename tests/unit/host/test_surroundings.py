"""A host has what was around the run when it began, and nothing of the test that needed it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from support.hosts import run_address

from pytest_embedcache.models.host.address import Address
from pytest_embedcache.models.host.process import SIGN, Job
from pytest_embedcache.models.host.starting import start
from pytest_embedcache.models.host.surroundings import Surroundings
from pytest_embedcache.plugin import host as hosts
from pytest_embedcache.plugin.host import RunHost
from pytest_embedcache.plugin.run import Run
from pytest_embedcache.plugin.settings import Settings
from pytest_embedcache.plugin.waking import BEGAN


def test_a_run_begins_before_its_tests(pytestconfig: pytest.Config) -> None:
    """This one has a test's name in a variable, which was not there at the start."""
    variables, path = pytestconfig.stash[BEGAN]
    mine = os.environ["PYTEST_CURRENT_TEST"]
    assert variables.get("PYTEST_CURRENT_TEST") != mine
    assert variables["PATH"]
    assert path


def test_a_host_is_started_as_the_run_began(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a test has put into its process: the same host is looked for, in the same place, and
    it is started with the variables and packages of before."""
    run = Run(Settings(host="keep", dir=str(tmp_path)))
    before = RunHost(run)._addresses()
    monkeypatch.setenv("HF_HOME", "/of/a/test")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    host = RunHost(run)
    assert host._addresses() == before
    given: list[Surroundings] = []
    monkeypatch.setattr(hosts, "start_at", lambda address, job, around: given.append(around))
    host._start()
    (around,) = given
    assert around.variables.get("HF_HOME") != "/of/a/test"
    assert str(tmp_path) not in around.path


def test_it_has_them_and_no_working_directory(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables and packages are as they were told; where the test works may be gone already."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("OF_THE_TEST", "1")
    work.rmdir()
    found = tmp_path / "found.json"
    code = (
        "import json, os, sys; told = json.loads(sys.stdin.readline()); "
        f"open({str(found)!r}, 'w').write(json.dumps([os.getcwd(), *map(os.environ.get, "
        "('OF_THE_RUN', 'OF_THE_TEST', 'OMP_WAIT_POLICY')), told['path']])); "
        f"print({SIGN!r} + '1'); print({SIGN!r} + 'ready')"
    )
    around = Surroundings({"OF_THE_RUN": "1"}, ["", "relative", Path("/no/text"), "/packages"])
    address: Address = run_address()
    start(Job(str(address.path), "/cache"), around, command=(sys.executable, "-S", "-c", code))
    told = json.loads(found.read_text(encoding="utf-8"))
    assert told == [os.path.abspath(os.sep), "1", None, "PASSIVE", ["/packages"]]
