"""Whoever waits for a host sees that it goes on: at every step, and while its processor works."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.light import LightBackend, LightModel
from support.models import tiny_bert

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.models.batching import SIZE
from pytest_embedcache.models.host import holding as holdings
from pytest_embedcache.models.host.holding import Holding


class Clock:
    """In place of the module `time`."""

    now = worked = 0.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.worked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(holdings, "time", made)
    return made


def test_each_step_is_seen(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the files are the right ones, that they are loaded, and every call for a long list of
    texts: another progress each time, although only two requests came to their end."""
    registry = ModelRegistry(backends={"torch": LightBackend()})
    holding = Holding(registry, memory=lambda: None)
    seen = [holding.progress]

    def watched(call: Any) -> Any:
        def watch(*given: Any, **options: Any) -> Any:
            seen.append(holding.progress)
            return call(*given, **options)

        return watch

    monkeypatch.setattr(LightBackend, "load", watched(LightBackend.load))
    monkeypatch.setattr(LightModel, "encode", watched(LightModel.encode))
    spec = registry.resolve(ModelSpec(str(tiny_bert(tmp_path / "model")), device="cpu"))
    identity = registry.identify(spec)
    ticket, _ = holding.open(spec, identity.fingerprint, str(identity.signature))
    holding.rows(ticket, [str(n) for n in range(2 * SIZE + 1)], {}, "w")
    seen.append(holding.progress)
    # At first, in the load, in three calls, at the end.
    assert len(seen) == 6
    assert all(before != after for before, after in pairwise(seen))


def test_a_processor_at_work_is_progress_for_a_time(clock: Clock) -> None:
    """An export takes minutes in one step; what has gone on for an hour may never end."""
    holding = Holding(ModelRegistry(backends={}), memory=lambda: None)
    first = holding.progress
    clock.now = 300.0
    assert holding.progress == first
    clock.worked = 280.0
    assert (second := holding.progress) != first
    clock.now, clock.worked = 4000.0, 3900.0
    assert holding.progress == second
