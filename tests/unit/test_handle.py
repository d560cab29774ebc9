"""One model's life: loaded once, however many ask, and whatever happens to the one who loads."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.toys import DEADLOCK, Gate, Toy, ToyBackend, boarded, start

from pytest_embedcache import ModelSpec
from pytest_embedcache.models import building
from pytest_embedcache.models.handle import Counts, ModelHandle
from pytest_embedcache.models.turn import turn

THREADS = 32


@pytest.fixture
def backend() -> ToyBackend:
    return ToyBackend()


@pytest.fixture
def make(backend: ToyBackend) -> Callable[..., ModelHandle]:
    """`make(name)`: the handle of a toy."""

    def make(name: str = "x", **options: Any) -> ModelHandle:
        spec = ModelSpec(name, device="cpu", dtype="float32", path=f"toy:{name}")
        return ModelHandle(spec, backend, **options)

    return make


# ------------------------------------------------------------------------------ one load


def test_threads_that_found_no_model_at_once_have_one_load(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """32 threads that all missed get the same object, of one load."""
    handle, gate = make(), Gate()
    backend.on_load = gate
    everybody = boarded(handle, THREADS)
    asked = [start(handle.get) for _ in range(THREADS)]
    assert everybody.wait(DEADLOCK)
    gate.open.set()
    models = {future.result(DEADLOCK) for future in asked}
    assert models == {handle.model}
    assert backend.loads == ["x"]
    assert (handle.counts.loads, handle.counts.failures) == (1, 0)


def test_a_loaded_model_is_returned_while_every_lock_is_held(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """A hit waits for nobody: not for the handle's lock, not for another model's load."""
    handle, gate = make(), Gate()
    model = handle.get()
    backend.on_load = gate
    other = start(make("y").get)
    assert gate.reached.wait(DEADLOCK)
    with handle._lock:
        assert start(handle.get).result(DEADLOCK) is model
    gate.open.set()
    other.result(DEADLOCK)
    assert backend.loads == ["x", "y"]


def test_who_comes_after_the_load_waits_for_no_other_load(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """A thread that missed, and looks again when the model is there, does not ask for the turn."""
    handle, gate = make(), Gate()
    handle.get()
    backend.on_load = gate
    other = start(make("y").get)
    assert gate.reached.wait(DEADLOCK)
    model, handle.model = handle.model, None
    boarding, board = threading.Event(), handle._board

    def board_late(mine: Any) -> Any:
        handle.model = model  # the load has ended since the thread looked
        boarding.set()
        return board(mine)

    handle._board = board_late  # type: ignore[method-assign]
    assert start(handle.get).result(DEADLOCK) is model
    assert boarding.is_set()
    gate.open.set()
    other.result(DEADLOCK)
    assert backend.loads == ["x", "y"]


# ------------------------------------------------------------------------------ taking turns


def test_two_models_are_not_loaded_at_the_same_time(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """While one model is built the other's thread waits, though it has its own handle."""
    first, second, gate = make("x"), make("y"), Gate()
    in_turn: list[bool] = []
    backend.on_load = lambda spec: (in_turn.append(turn.is_mine), gate())
    one = start(first.get)
    assert gate.reached.wait(DEADLOCK)
    waiting = boarded(second, 1)
    two = start(second.get)
    assert waiting.wait(DEADLOCK)
    assert not turn.is_mine
    assert (second.is_loading, second.is_loaded) == (True, False)
    assert backend.loads == ["x"]
    gate.open.set()
    assert one.result(DEADLOCK) is not two.result(DEADLOCK)
    assert backend.loads == ["x", "y"]
    assert in_turn == [True, True]


def test_a_load_that_needs_another_model_does_not_wait_for_its_own_turn(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """y's load asks for x, whose loader waits for the turn that y has: both are loaded, once."""
    inner, outer = make("x"), make("y")
    waiting = boarded(inner, 1)
    begun = threading.Event()

    def ask_for_x(spec: ModelSpec) -> None:
        if spec.name == "y":
            begun.set()
            assert waiting.wait(DEADLOCK)  # from here on the flight of x is another thread's
            inner.get()

    backend.on_load = ask_for_x
    two = start(outer.get)
    assert begun.wait(DEADLOCK)
    one = start(inner.get)
    two.result(DEADLOCK)
    assert one.result(DEADLOCK) is inner.model
    assert backend.loads == ["y", "x"]
    assert inner.counts.loads == outer.counts.loads == 1


def test_a_model_whose_load_asks_for_itself_is_an_error(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """Directly, or by way of another model; afterwards it can be loaded."""
    first, second = make("x"), make("y")
    backend.on_load = lambda spec: first.get()
    with pytest.raises(RuntimeError, match=r"loading model 'x' asks for itself"):
        first.get()
    backend.on_load = lambda spec: {"x": second, "y": first}[spec.name].get()
    with pytest.raises(RuntimeError, match=r"loading model 'x' asks for itself"):
        first.get()
    backend.on_load = lambda spec: None
    assert isinstance(first.get(), Toy)


# ------------------------------------------------------------------------------ failures


def test_a_failed_load_is_the_error_of_everyone_who_waited_and_of_nobody_later(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """One load, its very error in 32 threads; the next call loads again."""
    handle, gate = make(), Gate()
    error = OSError("no such weights")

    def fail(spec: ModelSpec) -> None:
        gate()
        raise error

    backend.on_load = fail
    everybody = boarded(handle, THREADS)
    asked = [start(handle.get) for _ in range(THREADS)]
    assert everybody.wait(DEADLOCK)
    gate.open.set()
    assert {future.exception(DEADLOCK) for future in asked} == {error}
    assert backend.loads == ["x"]
    assert (handle.counts.loads, handle.counts.failures) == (0, 1)
    assert handle.error == "OSError: no such weights"
    assert (handle.is_loaded, handle.is_loading) == (False, False)

    backend.on_load = lambda spec: None
    assert isinstance(handle.get(), Toy)
    assert handle.error is None
    assert (handle.counts.loads, handle.counts.failures) == (1, 1)


def test_a_failed_load_keeps_nothing_alive(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """The handle remembers what went wrong, not the frames (and half a model) it passed through."""
    handle = make()

    def fail(spec: ModelSpec) -> None:
        half = Toy(spec)
        halves.append(weakref.ref(half))
        raise OSError("too late")

    halves: list[weakref.ref[Toy]] = []
    backend.on_load = fail
    with pytest.raises(OSError, match="too late"):
        handle.get()
    gc.collect()
    assert [half() for half in halves] == [None]
    assert handle.error == "OSError: too late"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_a_waiter_takes_over_from_a_loader_that_was_interrupted(
    make: Callable[..., ModelHandle], backend: ToyBackend, interrupt: type[BaseException]
) -> None:
    """The interrupt is the loader's own; one of those who waited loads, and it is no failure."""
    handle, gate = make(), Gate()

    def stop(spec: ModelSpec) -> None:
        gate()
        backend.on_load = lambda spec: None
        raise interrupt

    backend.on_load = stop
    loader = start(handle.get)
    assert gate.reached.wait(DEADLOCK)
    everybody = boarded(handle, 3)
    waiters = [start(handle.get) for _ in range(3)]
    assert everybody.wait(DEADLOCK)
    gate.open.set()
    assert isinstance(loader.exception(DEADLOCK), interrupt)
    assert {waiter.result(DEADLOCK) for waiter in waiters} == {handle.model}
    assert backend.loads == ["x", "x"]
    assert (handle.counts.loads, handle.counts.failures) == (1, 0)


# ------------------------------------------------------------------------------ what is noted


def test_the_log_has_the_lines_that_users_know(
    make: Callable[..., ModelHandle], caplog: pytest.LogCaptureFixture
) -> None:
    """Two lines at INFO for a load, with the name that was asked for, and none for a hit."""
    caplog.set_level(logging.INFO, logger="pytest_embedcache")
    handle = make("org/full-name", asked_as="full-name")
    handle.get()
    handle.get()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "INFO",
            "Loading SentenceTransformer model (one-time initialization): full-name on cpu",
        ),
        ("INFO", "✅ SentenceTransformer model 'full-name' loaded and cached"),
    ]


def test_a_load_that_another_one_did_meanwhile_logs_nothing(
    make: Callable[..., ModelHandle], backend: ToyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten threads, two lines."""
    caplog.set_level(logging.INFO, logger="pytest_embedcache")
    handle, gate = make(), Gate()
    backend.on_load = gate
    everybody = boarded(handle, 10)
    asked = [start(handle.get) for _ in range(10)]
    assert everybody.wait(DEADLOCK)
    gate.open.set()
    for future in asked:
        future.result(DEADLOCK)
    assert len(caplog.records) == 2


def test_import_and_load_are_timed_apart(
    make: Callable[..., ModelHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import counts where it happened; the load is what comes after it."""
    ticks = itertools.count()
    clock = types.SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr(building, "time", clock)
    fresh, warm = Counts(), Counts()
    make("x", counts=fresh).get()
    handle = make("y", counts=warm)
    handle.get()
    assert (fresh.import_seconds, fresh.load_seconds) == (1.0, 1.0)
    assert (warm.import_seconds, warm.load_seconds) == (0.0, 1.0)
    assert handle.load_time == 1.0


def test_the_hook_runs_between_import_and_load(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """It is told whether the libraries were imported just now."""
    seen: list[tuple[bool, bool, list[str]]] = []

    def hook(fresh: bool) -> None:
        seen.append((fresh, backend.imported, list(backend.loads)))

    make("x", after_import=hook).get()
    make("y", after_import=hook).get()
    assert seen == [(True, True, []), (False, True, ["x"])]


def test_the_collector_stands_still_during_a_load(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """And goes on afterwards, also when the load failed."""
    states: list[bool] = []

    def fail(spec: ModelSpec) -> None:
        states.append(gc.isenabled())
        raise OSError("no")

    assert gc.isenabled()
    backend.on_load = fail
    with pytest.raises(OSError, match="no"):
        make().get()
    assert states == [False]
    assert gc.isenabled()


def test_reading_the_number_of_gets_does_not_count() -> None:
    """It is an iterator, so that counting needs no lock; asking how far it is leaves it there."""
    counts = Counts()
    assert [counts.gets_so_far, next(counts.gets), next(counts.gets)] == [0, 0, 1]
    assert [counts.gets_so_far, counts.gets_so_far] == [2, 2]
