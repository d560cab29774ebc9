"""Opening a model: whoever waits for it is told, whatever goes wrong with it or with another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.encoders import world

from pytest_embedcache.service.model_table import ModelRow
from pytest_embedcache.service.opened import OpenModels

ROW = ModelRow("m", "m", backend="pure")


class Waiting:
    """Somebody who waits; `then` raises `error`, if there is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.told: list[Any] = []

    def then(self, served: Any) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(served)

    def fail(self, error: BaseException) -> None:
        self.told.append(error)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> OpenModels:
    w = world()
    monkeypatch.setattr("pytest_embedcache.service.opened.open_model", lambda *_: w.model())
    monkeypatch.setattr("pytest_embedcache.service.opened.Served", lambda row, model: model)
    return OpenModels({"m": ROW}, w.cache, w.registry, None, lambda row: {})


def test_one_that_fails_is_not_the_others_fault(models: OpenModels) -> None:
    """It is told its own error, and those after it get the model."""
    started: list[Callable[[], None]] = []
    waiting = [Waiting(), Waiting(RuntimeError("no thread")), Waiting()]
    for one in waiting:
        models.when_open(ROW, started.append, one.then, one.fail)
    (opens,) = started
    opens()
    model = models.get("m")
    assert model is not None
    assert [one.told for one in waiting] == [[model], [waiting[1].error], [model]]


def test_an_opening_that_cannot_begin_fails_and_can_be_tried_again(models: OpenModels) -> None:
    """Nobody waits for it, and the next who asks opens it."""
    error = RuntimeError("can't start new thread")

    def refuse(work: Callable[[], None]) -> None:
        # Another one asks while it begins.
        models.when_open(ROW, started.append, late.then, late.fail)
        raise error

    started: list[Callable[[], None]] = []
    first, late, again = Waiting(), Waiting(), Waiting()
    models.when_open(ROW, refuse, first.then, first.fail)
    assert (first.told, late.told, started) == ([error], [error], [])
    models.when_open(ROW, lambda work: work(), again.then, again.fail)
    assert again.told == [models.get("m")]
    assert models.get("m") is not None
