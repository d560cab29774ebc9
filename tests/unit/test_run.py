"""What a run does to the process it is in: threads and the collector, and back."""

from __future__ import annotations

import gc
import logging
import sys
import types
from collections.abc import Callable, Iterator

import pytest

from pytest_embedcache.models import locking, resources, threads
from pytest_embedcache.models.registry import swap_default_registry
from pytest_embedcache.plugin.run import Run
from pytest_embedcache.plugin.settings import Settings


class Torch(types.ModuleType):
    """As much of torch as has to do with threads."""

    def __init__(self, threads: int) -> None:
        super().__init__("torch")
        self.threads = threads
        self.set: list[int] = []

    def get_num_threads(self) -> int:
        return self.threads

    def set_num_threads(self, threads: int) -> None:
        self.threads = threads
        self.set.append(threads)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Torch:
    """Eight threads of the user's, on a machine of eight cores."""
    module = Torch(8)
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setattr(resources, "usable_cores", lambda: 8)
    return module


@pytest.fixture
def make() -> Iterator[Callable[..., Run]]:
    """`make(threads=…, workers=…)`: a run that has begun."""
    runs: list[Run] = []

    def make(*, threads: str | int = "auto", workers: int = 1) -> Run:
        run = Run(Settings(threads=threads), workers=workers)
        run.start()
        runs.append(run)
        return run

    yield make
    for run in reversed(runs):
        run.stop()


@pytest.mark.parametrize(
    ("threads", "workers", "users", "held"),
    [
        ("auto", 1, 8, None),
        ("auto", 2, 8, 4),
        ("auto", 3, 8, 2),
        ("auto", 8, 8, 1),
        ("auto", 64, 8, 1),
        ("auto", 2, 4, None),
        ("auto", 2, 2, None),
        (1, 1, 8, 1),
        (3, 4, 8, 3),
        (8, 1, 8, None),
        (16, 1, 8, None),
        (2, 2, 1, None),
        ("off", 1, 8, None),
        ("off", 8, 8, None),
    ],
)
def test_threads_are_held_below_what_the_user_set_and_put_back(
    make: Callable[..., Run],
    torch: Torch,
    threads: str | int,
    workers: int,
    users: int,
    held: int | None,
) -> None:
    """At every load again; `threads` is what will be said, None where nothing was done."""
    torch.threads = users
    run = make(threads=threads, workers=workers)
    for fresh in (False, False):
        run.process.after_import(fresh)
    assert torch.threads == (users if held is None else held)
    assert run.process.threads == held
    assert len(torch.set) == (held is not None)
    run.stop()
    assert torch.threads == users


def test_threads_that_a_test_set_are_held_again_and_the_first_are_put_back(
    make: Callable[..., Run], torch: Torch
) -> None:
    """What counts at the end is what was there before the run."""
    run = make(threads=2)
    run.process.after_import(False)
    torch.set_num_threads(6)
    run.process.after_import(False)
    assert torch.threads == 2
    run.stop()
    assert torch.threads == 8


def test_a_model_without_torch_holds_nothing(
    make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be backends that need none."""
    for library in ("torch", "onnxruntime"):
        monkeypatch.delitem(sys.modules, library, raising=False)
    run = make(threads=1)
    run.process.after_import(False)
    assert run.process.threads is None
    run.stop()
    assert "torch" not in sys.modules


@pytest.mark.parametrize(("asked", "held"), [(1, 1), (3, 3), (16, None), ("off", None)])
def test_prepared_models_are_held_to_the_same_threads(
    make: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    asked: int | str,
    held: int | None,
) -> None:
    """Those that are loaded during the run; afterwards a process may use what it might before."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    run = make(threads=asked)
    for _ in range(2):
        run.process.after_import(False)
    assert threads.allowed() == (held or 8)
    assert run.process.threads == held
    run.stop()
    assert threads.allowed() == 8


@pytest.mark.parametrize(
    ("variable", "limit", "allowed"),
    [("", None, 8), ("3", None, 3), ("3,1", 5, 3), ("64", 2, 2), ("0", None, 8), ("x", 99, 8)],
)
def test_a_prepared_model_takes_the_fewest_threads_that_anybody_set(
    monkeypatch: pytest.MonkeyPatch, variable: str, limit: int | None, allowed: int
) -> None:
    """The user by OMP_NUM_THREADS, a run by its limit, the machine by its cores."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    before = threads.limit(limit)
    try:
        assert threads.allowed() == allowed
    finally:
        threads.limit(before)


def test_only_a_fresh_import_is_frozen(
    make: Callable[..., Run], torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there later may be a model, which could never be freed."""
    frozen: list[None] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(None))
    run = make()
    for fresh in (False, True, False, False):
        run.process.after_import(fresh)
    assert len(frozen) == 1


def test_nobody_listens_for_waits_before_a_model_is_asked_for_or_after_the_run(
    make: Callable[..., Run],
) -> None:
    """One handler on the log of waits, while there is somebody who may wait."""
    log = logging.getLogger(locking.__name__)
    before = list(log.handlers)
    registry = swap_default_registry(None)
    try:
        run = make()
        assert log.handlers == before
        run.shared_registry()
        run.registries.make()
        assert len(log.handlers) == len(before) + 1
        run.stop()
        assert log.handlers == before
    finally:
        swap_default_registry(registry)
