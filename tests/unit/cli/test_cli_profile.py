"""`embedcache profile`: medians of fresh processes, in a table and in a file for `gate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.children import python_path
from support.command import Command
from support.light import LIGHT_CHILD

from pytest_embedcache import ModelSpec
from pytest_embedcache.testing.speedup import child, profile


def stages(seconds: float) -> dict[str, Any]:
    return {"name": "m", "loads": 1, **dict.fromkeys(child.STAGES, seconds)}


def test_the_median_of_the_rounds_counts_and_not_the_first_process() -> None:
    """Which fetches, prepares, and reads the files from the disk."""
    answers = [stages(seconds) for seconds in (99.0, 1.0, 5.0, 2.0)]
    asked: list[ModelSpec] = []

    def run(spec: ModelSpec, directory: str | None) -> dict[str, Any]:
        assert directory == "here"
        asked.append(spec)
        return answers.pop(0)

    spec = ModelSpec("m")
    found = profile.profile_model(spec, "lazy", rounds=3, directory="here", child=run)
    assert asked == [spec] * 4
    assert [*found["stages"]] == ["import", "load", "first vector", "warm vector"]
    for stage in found["stages"].values():
        assert stage == {"median": 2.0, "seconds": [1.0, 5.0, 2.0]}
    assert found["machine"]["cores"] >= 1


def test_a_profile_is_measured_in_real_processes_and_gate_reads_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path
) -> None:
    """Each loads the model once, and computes one text once; none of it in this process's store."""
    monkeypatch.setattr(child, "COMMAND", LIGHT_CHILD)
    monkeypatch.setenv("PYTHONPATH", python_path("tests"))
    file = tmp_path / "profile.json"
    ran = command("profile", tiny, "--rounds", "1", "--json", file)
    assert (ran.status, ran.err) == (0, "")
    assert "lazy (torch, float32): medians of 1 fresh processes\n" in ran.out
    assert command.computed() == {child.TEXT: 2}
    content = json.loads(file.read_text(encoding="utf-8"))
    for stage in child.STAGES:
        assert f"  {stage} " in ran.out
        assert content["stages"][stage]["median"] >= 0
    # The light model imports and computes next to nothing, but not in no time.
    assert content["stages"]["first vector"]["median"] > 0

    slower = json.loads(file.read_text(encoding="utf-8"))
    slower["stages"]["load"]["median"] = 2 * content["stages"]["load"]["median"]
    now = tmp_path / "now.json"
    now.write_text(json.dumps(slower), encoding="utf-8")
    same = command("gate", file, "--baseline", file)
    assert same.status == 0
    assert same.out.endswith("\n4 compared, and none surely slower\n")
    assert f"{tiny} on cpu (lazy): load" in same.out
    assert command("gate", now, "--baseline", file).status == 1
    assert command("gate", file).status == 2


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [("background", ("torch", "float32")), ("quantized", ("onnx", "int8"))],
)
def test_the_strategy_says_what_is_loaded(
    command: Command, monkeypatch: pytest.MonkeyPatch, strategy: str, kind: tuple[str, str]
) -> None:
    """Named, or from the environment, as for `get_model`."""
    asked: list[dict[str, Any]] = []

    class Ran:
        returncode = 0
        stdout = json.dumps(stages(1.0))

    def run(arguments: list[str], **options: Any) -> Ran:
        asked.append(json.loads(arguments[-1])["spec"])
        return Ran()

    monkeypatch.setattr(child.subprocess, "run", run)
    assert command("profile", "m", "--strategy", strategy, "--rounds", "2").status == 0
    monkeypatch.setenv("EMBEDCACHE_STRATEGY", strategy)
    assert command("profile", "m", "--rounds", "2").status == 0
    assert [(spec["backend"], spec["form"]) for spec in asked] == [kind] * 6


def test_a_model_that_cannot_be_loaded_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last that the process said; nothing is written."""
    monkeypatch.setattr(
        child, "COMMAND", (sys.executable, "-c", "import sys; print('x'); sys.exit('no such luck')")
    )
    ran = command("profile", "m", "--json", tmp_path / "out.json")
    assert (ran.status, ran.out) == (1, "")
    assert "model 'm' could not be loaded (torch): " in ran.err
    assert "'no such luck'" in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "out.json").exists()
