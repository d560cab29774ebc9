"""The test of the original on the real model: the one test of the suite that measures time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.children import python_path

from pytest_embedcache import ModelRegistry

pytestmark = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="needs sentence-transformers"
)


def test_actual_model_caching(
    registry_class: type[ModelRegistry], minilm_in_hub_cache: Path
) -> None:
    """The second consumer's first vector is the first one's, without a load, 10 times sooner.

    In a process of its own, where the first consumer pays what it does in any program: the import
    of torch, and one load. Of the later consumers the quickest counts, for the others may have
    waited for a busy machine; the ratio is in the hundreds.
    """
    registry = f"{registry_class.__module__}:{registry_class.__qualname__}"
    ran = subprocess.run(
        [sys.executable, "-m", "support.first_vectors", "all-MiniLM-L6-v2", registry],
        env={**os.environ, "PYTHONPATH": python_path("tests", "examples")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    first, *later = found["seconds"]
    assert found["loads"] == 1
    assert found["dimension"] == 384
    assert found["same"]
    assert first >= 10 * min(later), f"first vectors after {found['seconds']} s"
