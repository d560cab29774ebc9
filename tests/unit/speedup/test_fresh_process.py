"""A warm load beside one in a fresh interpreter, on a light model: loads are counted there too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support import light
from support.children import python_path
from support.simulated import World

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import ModelLoadError, SpeedupError
from pytest_embedcache.models.backends import BACKENDS
from pytest_embedcache.testing.speedup import child, loads
from pytest_embedcache.testing.speedup.loads import measure_warm_load, warm_load_speedup


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path) -> ModelSpec:
    """A light model, here and in fresh interpreters, which notes what is asked of it."""
    monkeypatch.setitem(BACKENDS, "torch", light.LightBackend())
    monkeypatch.setenv("LIGHT_LOG", str(tmp_path / "light.log"))
    monkeypatch.setattr(child, "COMMAND", light.LIGHT_CHILD)
    monkeypatch.setenv("PYTHONPATH", python_path("tests"))
    return ModelSpec(str(tiny))


def test_cold_is_a_fresh_interpreter_that_loads_once(spec: ModelSpec, tmp_path: Path) -> None:
    """Here the model is loaded and its vector computed once, for all warm rounds."""
    found = measure_warm_load(spec, at_least=2, fresh_process=True, max_seconds=1e-9)
    # A round takes about a second, which is not asserted; that it was a process is.
    assert (found.rounds, found.outcome) == (1, "undecided")
    noted = (tmp_path / "light.log").read_text(encoding="utf-8").splitlines()
    assert noted.count(f"text {child.TEXT}") == 3  # here, before the first round, and in it
    assert len([line for line in noted if line.startswith("load")]) == 3


def test_ten_rounds_decide_it(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a process that takes simulated time, warm rounds none."""
    world, asked = World(), []

    def run(asked_for: ModelSpec, directory: str | None) -> dict[str, Any]:
        asked.append((asked_for, directory))
        world.spend(3.0)()
        return {"loads": 1}

    monkeypatch.setattr(loads, "run_child", run)
    warm = loads._Loads.warm

    def takes_a_moment(sides: Any) -> None:
        warm(sides)
        world.spend(0.1)()

    monkeypatch.setattr(loads._Loads, "warm", takes_a_moment)
    found = warm_load_speedup(
        spec, at_least=10, fresh_process=True, cache_dir="here", **world.options
    )
    assert (found.outcome, found.rounds) == ("reached", 10)
    assert found.ratio == pytest.approx(30)
    assert asked == [(spec, "here")] * len(asked)
    assert len(asked) == 11
    with pytest.raises(SpeedupError, match="missed: 30"):
        warm_load_speedup(spec, at_least=40, fresh_process=True, **world.options)


@pytest.mark.parametrize("count", [0, 2])
def test_an_interpreter_that_does_not_load_once_fails_whatever_the_times(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The count has no noise."""
    monkeypatch.setattr(loads, "run_child", lambda *_: {"loads": count})
    with pytest.raises(SpeedupError, match=rf"cold rounds loaded '.*' {count} times") as caught:
        measure_warm_load(spec, at_least=1e-9, fresh_process=True, max_seconds=1e-9)
    assert caught.value.outcome == "loads"


def test_an_interpreter_that_fails_is_an_error_with_its_last_words(spec: ModelSpec) -> None:
    """And no measuring: here of a model that is nowhere."""
    gone = ModelSpec(f"{spec.name}-gone")
    with pytest.raises(ModelLoadError, match=r"fresh interpreter ended with .*NotFound") as caught:
        child.run_child(gone, None)
    assert (caught.value.name, caught.value.backend) == (gone.name, "torch")


def test_a_fresh_interpreter_says_how_long_each_stage_took(
    spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """As one line of JSON, the request being its last argument."""
    request = {"spec": {"name": spec.name}, "directory": None}
    monkeypatch.setattr(sys, "argv", ["child", json.dumps(request)])
    child.main()
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found.pop("name"), found.pop("loads")) == (spec.name, 1)
    assert [*found] == list(child.STAGES)
    assert all(seconds >= 0 for seconds in found.values())
    # One vector is computed; the fifty after it are found.
    noted = (tmp_path / "light.log").read_text(encoding="utf-8").splitlines()
    assert noted.count(f"text {child.TEXT}") == 1
