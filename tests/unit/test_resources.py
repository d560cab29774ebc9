"""What the machine offers: the cores of this process, and the device that None means."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.children import python

from pytest_embedcache.models.resources import (
    best_device,
    concrete_device,
    threads_per_worker,
    usable_cores,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="affinity and cgroups are Linux's")


@pytest.fixture
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@linux
@pytest.mark.usefixtures("_eight_cores")
@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 3),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("", 8),
        ("nonsense", 8),
        ("100000 0\n", 8),
        ("\xff", 8),
    ],
)
def test_a_containers_quota_caps_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    """`quota period` in microseconds, rounded up; what cannot be read caps nothing."""
    limit = tmp_path / "sys/fs/cgroup/cpu.max"
    limit.parent.mkdir(parents=True)
    limit.write_bytes(quota.encode("latin-1"))
    assert usable_cores(tmp_path) == cores


@linux
@pytest.mark.usefixtures("_eight_cores")
def test_without_a_quota_the_cores_are_those_of_the_affinity(tmp_path: Path) -> None:
    """A process pinned to eight of many cores has eight."""
    assert usable_cores(tmp_path / "missing") == 8


@linux
def test_the_affinity_is_that_of_this_process(tmp_path: Path) -> None:
    """A child pinned to one core counts one."""
    code = (
        "import os, pathlib\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from pytest_embedcache.models.resources import usable_cores\n"
        "print(usable_cores(pathlib.Path('/nowhere')))"
    )
    assert python(code) == "1"


@pytest.mark.parametrize(
    ("workers", "cores", "threads"),
    [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 8, 1), (16, 8, 1), (0, 8, 8), (2, 1, 1)],
)
def test_all_workers_together_have_no_more_threads_than_cores(
    workers: int, cores: int, threads: int
) -> None:
    """Rounded down, and at least one each."""
    assert threads_per_worker(workers, cores) == threads


# -------------------------------------------------------------------------------------- devices


class Accelerator(SimpleNamespace):
    """What torch.cuda and torch.xpu answer."""

    def __init__(self, *, there: bool, current: int | None = None) -> None:
        super().__init__(
            is_available=lambda: there,
            is_initialized=lambda: current is not None,
            current_device=self._current,
        )
        self._index = current

    def _current(self) -> int:
        assert self._index is not None, "asking would start the device"
        return self._index


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`machine(cuda=…, mps=…, xpu=…)`: torch sees these."""
    real = importlib.metadata.version

    def make(
        *, cuda: Accelerator | None = None, mps: bool = False, xpu: Accelerator | None = None
    ) -> None:
        none = Accelerator(there=False)
        torch = SimpleNamespace(
            cuda=cuda or none,
            xpu=xpu or none,
            backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
        )
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setattr(
            importlib.metadata,
            "version",
            lambda name: "2.13.0" if name == "torch" else real(name),
        )

    return make


def test_none_is_the_best_device_that_is_there(machine: Any) -> None:
    """CUDA before MPS before XPU before the CPU."""
    machine(cuda=Accelerator(there=True), mps=True, xpu=Accelerator(there=True))
    assert best_device() == "cuda:0"
    machine(mps=True, xpu=Accelerator(there=True))
    assert best_device() == "mps"
    machine(xpu=Accelerator(there=True))
    assert best_device() == "xpu:0"
    machine()
    assert best_device() == "cpu"


def test_cuda_is_the_processs_current_device(machine: Any) -> None:
    """After `torch.cuda.set_device(1)` both `cuda` and None are `cuda:1`."""
    machine(cuda=Accelerator(there=True, current=1))
    assert concrete_device("cuda") == concrete_device(None) == "cuda:1"
    assert concrete_device("cuda:0") == "cuda:0"


def test_asking_which_device_is_meant_does_not_start_it(machine: Any) -> None:
    """A CUDA context does not survive a fork: as long as nobody used it, `cuda` is the first."""
    machine(cuda=Accelerator(there=True))
    assert concrete_device("cuda") == "cuda:0"


def test_without_torch_none_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spec can be resolved where the model cannot be loaded."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0")
    assert best_device() == "cpu"


def test_a_torch_without_metadata_is_asked_itself(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some distributions install torch without the metadata that would tell its version."""
    machine(mps=True)

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert best_device() == "mps"


def test_a_cpu_build_of_torch_is_known_without_importing_it() -> None:
    """The version says it: neither torch nor numpy is imported for the answer."""
    code = (
        "import importlib.metadata, sys\n"
        "importlib.metadata.version = lambda name: '2.13.0+cpu'\n"
        "from pytest_embedcache.models.resources import best_device\n"
        "print(best_device(), 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert python(code) == "cpu False False"
