"""A model host in somebody's suite: one load for all workers, and it ends with the run.

The models are light ones, in the workers and in the host, so that no torch is needed; one run has
the real thing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.children import python_path
from support.hosts import ended, private_place
from support.models import tiny_bert
from support.suites import TESTS, Suite, complaints, needs_torch, outcome

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.models.host.address import known
from pytest_embedcache.models.host.link import ask_once
from pytest_embedcache.vectors.api import StoreSettings, cached_model, open_cache

pytestmark = [
    pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed"),
    pytest.mark.skipif(os.name != "posix", reason="a POSIX system is needed for the kills"),
]

CONFTEST = f"import sys; sys.path.insert(0, {str(TESTS)!r})\nimport support.inner_host\n"
SUITE = """
    import os, pytest
    from support.light import vector_of

    @pytest.mark.parametrize("number", range(8))
    def test_texts(embedding_model, number):
        texts = [f"text {number}", "the same"]
        for row, text in zip(embedding_model.encode(texts), texts):
            assert row.tobytes() == vector_of(os.environ["EMBEDCACHE_MODEL"], text).tobytes()
"""


CHANGES = """
import pytest

@pytest.fixture(autouse=True)
def changes(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
"""


class HostSuite(Suite):
    def write(self, **files: str) -> None:
        conftest = files.pop("conftest", None)
        super().write(**files)
        if conftest is not None:
            (self.path / "conftest.py").write_text(CONFTEST + conftest, encoding="utf-8")

    def loads(self) -> int:
        """By all processes, the host's too, since the last call."""
        log = Path(os.environ["LIGHT_LOG"])
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return sum(line.startswith("load ") for line in lines)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with private_place() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def light(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: Path
) -> HostSuite:
    monkeypatch.setenv("LIGHT_LOG", str(tmp_path / "light.log"))
    monkeypatch.setenv("EMBEDCACHE_MODEL", str(tiny_bert(tmp_path / "model")))
    suite = HostSuite(pytester, monkeypatch)
    suite.write(conftest="", test_it=SUITE)
    return suite


def nothing_left() -> bool:
    """Waits for hosts that have been told to end; the test's own time limit ends it."""
    while known():
        threading.Event().wait(0.02)
    return True


def test_the_first_miss_starts_one_host_and_a_warm_run_none(light: HostSuite, place: Path) -> None:
    """One load for all workers, told as such, and nothing is left, whatever tests have made of
    their environment; with all vectors stored, nothing is started, and no directory is made."""
    light.write(conftest=CHANGES)
    result = light.run("-n", "3", "--embedcache-json=out.json")
    assert outcome(result) == {"passed": 8}, complaints(result)
    found = json.loads((light.path / "out.json").read_text(encoding="utf-8"))
    (model,) = found["models"]
    assert (model["loads"], model["per_process"]["host"]["loads"], light.loads()) == (1, 1, 1)
    asked = found["host"]["asked"]
    assert 9 <= sum(asked.values()) <= 11  # "the same" once, or by who came at the same time
    assert found["host"]["lost"] == []
    assert (found["processes"], found["notices"]) == (3, {})
    (batches,) = found["host"]["batches"]
    assert batches["asked"] == sum(asked.values())
    assert "1 load for 8 uses (in the model host)" in result.stdout.str()
    assert "model host: 1 load in " in result.stdout.str()
    assert nothing_left()
    for file in place.rglob("*"):
        if not file.is_dir():
            file.unlink(missing_ok=True)  # the host may be removing its secret
    (place / f"embedcache-{os.getuid()}").rmdir()
    counts = light.counts("-n", "3")
    assert (counts["totals"]["computed"], light.loads()) == (0, 0)
    assert "host" not in counts
    assert list(place.iterdir()) == []


def test_without_a_host_each_worker_loads(light: HostSuite, place: Path) -> None:
    """`off` starts none and looks for none."""
    counts = light.counts("-n", "2", "--embedcache-host=off")
    assert (counts["totals"]["loads"], light.loads()) == (2, 2)
    assert "host" not in counts
    assert list(place.iterdir()) == []


def test_a_host_that_is_killed_fails_no_test(light: HostSuite) -> None:
    """In the middle of a run: every vector is right, the workers load, and the summary says so."""
    light.write(
        test_it=SUITE
        + """
        if number == 4:
            from pytest_embedcache.models.host.address import known
            from pytest_embedcache.models.host.link import ask_once
            (address,) = known()
            os.kill(ask_once(address, {"do": "stats"})["pid"], 9)
            embedding_model.encode("after it")
"""
    )
    result = light.run("-n", "2", "--embedcache-json=out.json", "-p", "no:randomly")
    assert outcome(result) == {"passed": 8}, complaints(result)
    found = json.loads((light.path / "out.json").read_text(encoding="utf-8"))
    lost = found["host"]["lost"]
    assert lost
    loads = sum(model["loads"] for model in found["models"])
    assert light.loads() == 1 + loads  # what the killed one counted is gone with it
    assert loads >= len(lost)  # one more where a worker that came later has started another host
    notices = found["notices"]  # one from each loser; those that lost it alike say it once
    assert 1 <= len(notices) <= len(lost)
    assert all("the model host is of no use" in notice for notice in notices)
    assert f"lost by {', '.join(lost)}" in result.stdout.str()


def test_two_runs_at_once_have_each_their_own(light: HostSuite, tmp_path: Path) -> None:
    """With different models and one cache directory: every vector is right, a load for each run."""
    other = tiny_bert(tmp_path / "other", seed=7)
    processes = []
    for number, model in enumerate((os.environ["EMBEDCACHE_MODEL"], str(other))):
        processes.append(
            start(light, f"--embedcache-json=out{number}.json", EMBEDCACHE_MODEL=model)
        )
    for process in processes:
        text = process.communicate()[0]
        assert process.returncode == 0, text
    for number in range(2):
        found = json.loads((light.path / f"out{number}.json").read_text(encoding="utf-8"))
        assert (found["totals"]["loads"], found["host"]["lost"]) == (1, [])
    assert light.loads() == 2
    assert nothing_left()


def start(suite: Suite, *options: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "-p", "embedcache", "-p", "xdist", "-n", "2"]
    return subprocess.Popen(
        [*command, "-p", "no:cacheprovider", *options],
        cwd=suite.path,
        env={**os.environ, **environment, "PYTHONPATH": python_path("tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_controller_leaves_no_host(light: HostSuite) -> None:
    """SIGKILL, while a worker is in the middle of a test: host and socket are gone."""
    light.write(
        test_it="""
        import pathlib, threading

        def test_waits(embedding_model):
            embedding_model.encode("a text")
            pathlib.Path("there").touch()
            threading.Event().wait(60)

        def test_passes():
            pass
        """
    )
    with start(light) as process:
        while not (light.path / "there").exists():
            assert process.poll() is None
            threading.Event().wait(0.05)
        (address,) = known()
        host = ask_once(address, {"do": "stats"})["pid"]
        process.send_signal(signal.SIGKILL)
        assert ended(host)
        assert nothing_left()


def test_a_kept_host_serves_the_next_run(light: HostSuite) -> None:
    """Started by a run with `keep`, used by a serial run that says nothing, stopped by hand."""
    first = light.counts("-n", "2", "--embedcache-host=keep")
    assert first["host"]["lost"] == []
    (address,) = known()
    pid = ask_once(address, {"do": "stats"})["pid"]
    assert light.loads() == 1
    second = light.counts("--embedcache-mode=live")
    assert second["host"]["asked"] == {"main": 16}
    assert (second["totals"]["loads"], light.loads()) == (0, 0)
    command = [sys.executable, "-m", "pytest_embedcache", "host"]
    status = subprocess.run([*command, "status", "--json"], capture_output=True, check=True)
    (row,) = json.loads(status.stdout)["hosts"]
    assert (row["pid"], row["kept"], row["models"][0]["loads"]) == (pid, True, 1)
    stopped = subprocess.run([*command, "stop"], capture_output=True, text=True, check=True)
    assert stopped.stdout == f"stopped process {pid}\n"
    assert ended(pid)
    assert nothing_left()
    third = light.counts("--embedcache-mode=live")
    assert ("host" in third, light.loads()) == (False, 1)


@needs_torch
def test_workers_of_a_real_model_import_no_torch(
    real_suite: Suite, place: Path, tmp_path: Path
) -> None:
    """The host has sentence-transformers; the workers import neither it nor torch, and the vectors
    are those of a process without a host."""
    model = tiny_bert(tmp_path / "model")
    real_suite.write(
        test_it="""
        import sys, pytest

        @pytest.mark.parametrize("number", range(4))
        def test_texts(embedding_model, number):
            embedding_model.encode([f"a cat {number}", "a kitten"])
            assert not {"torch", "transformers", "onnxruntime"} & sys.modules.keys()
        """
    )
    counts = real_suite.counts("-n", "2", f"--embedcache-model={model}", "--embedcache-dir=cache")
    (row,) = counts["models"]
    assert (row["loads"], row["per_process"]["host"]["loads"]) == (1, 1)
    cache = open_cache(StoreSettings.from_environment(real_suite.path / "cache"))
    registry = ModelRegistry(cache_dir=real_suite.path / "cache")
    mine = cached_model(registry, cache, ModelSpec(str(model), device="cpu"))
    texts = ["a kitten", *(f"a cat {n}" for n in range(4))]
    stored = mine.encode(texts)
    assert registry.stats().loads == 0
    again = mine.unwrap().encode(texts)
    assert abs(stored - again).max() < 1e-5
    cache.close()
