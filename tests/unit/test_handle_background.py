"""A model that loads beside everything else: who asks for it waits, and no longer than he said."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.toys import DEADLOCK, Gate, Toy, ToyBackend, boarded, start

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import LoadTimeoutError
from pytest_embedcache.models import background
from pytest_embedcache.models.handle import ModelHandle, Status
from pytest_embedcache.models.turn import turn


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


def test_a_load_in_the_background_goes_through_all_states(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """Unloaded, loading while the caller goes on, ready; starting again starts nothing."""
    handle, gate = make(), Gate()
    backend.on_load = gate
    assert handle.status is Status.UNLOADED
    handle.start_loading()
    assert (handle.status, handle.is_loading, handle.is_loaded) == (Status.LOADING, True, False)
    assert gate.reached.wait(DEADLOCK)
    handle.start_loading()
    gate.open.set()
    model = handle.get(DEADLOCK)
    handle.start_loading()
    assert background.wait(DEADLOCK)
    assert (handle.status, handle.error) == (Status.READY, None)
    assert handle.model is model
    assert isinstance(handle.load_time, float)
    assert backend.loads == ["x"]
    assert handle.counts.loads == 1


def test_a_load_that_failed_in_the_background_says_so_and_can_be_tried_again(
    make: Callable[..., ModelHandle], backend: ToyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log, the state failed with its error; the next call loads."""
    handle = make()

    def fail(spec: ModelSpec) -> None:
        raise OSError("no such weights")

    backend.on_load = fail
    handle.start_loading()
    assert background.wait(DEADLOCK)
    assert (handle.status, handle.error) == (Status.FAILED, "OSError: no such weights")
    assert [record.getMessage() for record in caplog.records] == [
        "Model x could not be loaded in the background: no such weights"
    ]
    backend.on_load = lambda spec: None
    assert isinstance(handle.get(), Toy)
    assert (handle.status, handle.error) == (Status.READY, None)
    assert (handle.counts.loads, handle.counts.failures) == (1, 1)


def test_who_waits_for_a_failing_background_load_gets_its_error(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """The very error of the loading thread, and no second load."""
    handle, gate, error = make(), Gate(), OSError("no such weights")

    def fail(spec: ModelSpec) -> None:
        gate()
        raise error

    backend.on_load = fail
    handle.start_loading()
    assert gate.reached.wait(DEADLOCK)
    everybody = boarded(handle, 8)
    waiting = [start(handle.get) for _ in range(8)]
    assert everybody.wait(DEADLOCK)
    gate.open.set()
    assert {future.exception(DEADLOCK) for future in waiting} == {error}
    assert backend.loads == ["x"]


def test_a_thread_that_cannot_be_started_leaves_the_model_as_it_was(
    make: Callable[..., ModelHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the caller's, and the next one does not wait for a load that never began."""
    handle = make()

    def no_thread(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(background, "start", no_thread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        handle.start_loading()
    assert handle.status is Status.UNLOADED
    assert isinstance(handle.get(0), Toy)


# ------------------------------------------------------------------------------ waiting


def test_who_asks_while_it_loads_is_told_once(
    make: Callable[..., ModelHandle], backend: ToyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Five threads that wait for a load in the background, one line that it is loading."""
    caplog.set_level(logging.INFO, logger="pytest_embedcache")
    handle, gate = make(), Gate()
    backend.on_load = gate
    handle.start_loading()
    assert gate.reached.wait(DEADLOCK)
    everybody = boarded(handle, 5)
    waiting = [start(handle.get) for _ in range(5)]
    assert everybody.wait(DEADLOCK)
    gate.open.set()
    assert {future.result(DEADLOCK) for future in waiting} == {handle.model}
    said = [r.getMessage() for r in caplog.records if "waiting" in r.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("Model x is loading (for ")


def test_a_timeout_says_who_loads_and_what_it_is_doing(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """The load goes on, and a later call has the model."""
    handle, gate = make(), Gate()
    backend.on_load = gate
    handle.start_loading()
    assert gate.reached.wait(DEADLOCK)
    with pytest.raises(LoadTimeoutError, match=r"'x' is not loaded .* building it") as caught:
        handle.get(0.001)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.name == "x"
    assert caught.value.doing == "thread embedcache-load x is building it"
    assert caught.value.waited >= 0.001
    gate.open.set()
    assert handle.get(DEADLOCK) is handle.model
    assert backend.loads == ["x"]


def test_a_timeout_names_the_other_model_whose_turn_it_is(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """For whoever would load, and for whoever waits for a load that has no turn yet."""
    other, handle, gate = make("y"), make("x"), Gate()
    backend.on_load = gate
    other.start_loading()
    assert gate.reached.wait(DEADLOCK)
    with pytest.raises(LoadTimeoutError, match="model 'y' is being loaded"):
        handle.get(0.001)
    handle.start_loading()
    with pytest.raises(LoadTimeoutError, match=r"'x' is not loaded .*'y' is being loaded"):
        handle.get(0.001)
    gate.open.set()
    assert isinstance(handle.get(DEADLOCK), Toy)
    assert background.wait(DEADLOCK)
    assert backend.loads == ["y", "x"]
    assert (turn.model, turn.is_mine) == (None, False)


def test_the_impatience_of_one_is_not_the_error_of_another(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """A would-be loader whose time is over leaves those who waited for it to load themselves."""
    other, handle, gate = make("y"), make("x"), Gate()
    backend.on_load = gate
    other.start_loading()
    assert gate.reached.wait(DEADLOCK)
    impatient = start(lambda: handle.get(0.3))
    patient = boarded(handle, 1)
    waiting = start(lambda: handle.get(DEADLOCK))
    assert patient.wait(DEADLOCK)
    assert isinstance(impatient.exception(DEADLOCK), LoadTimeoutError)
    gate.open.set()
    assert waiting.result(DEADLOCK) is handle.model
    assert backend.loads == ["y", "x"]


def test_a_ready_model_needs_no_time(make: Callable[..., ModelHandle]) -> None:
    """A hit, and one's own load, do not look at the clock."""
    handle = make()
    assert handle.get(0) is handle.get(0)


def test_a_load_that_needs_another_model_that_loads_in_the_background(
    make: Callable[..., ModelHandle], backend: ToyBackend
) -> None:
    """Whoever has the turn does not wait for a thread that waits for the turn."""
    inner, outer = make("x"), make("y")
    begun = threading.Event()

    def ask(spec: ModelSpec) -> None:
        if spec.name == "y":
            begun.set()
            inner.start_loading()
            inner.get(DEADLOCK)

    backend.on_load = ask
    outer.get()
    assert begun.is_set()
    assert background.wait(DEADLOCK)
    assert backend.loads == ["y", "x"]
