"""The main job, on a real model: loaded once in each process, with its threads held."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

from support.children import ROOT
from support.models import MINILM
from support.suites import Suite, complaints, needs_torch, outcome

from pytest_embedcache.models.resources import threads_per_worker

pytestmark = needs_torch

SUITE = """
    import gc
    import os
    import numpy as np
    import pytest

    @pytest.mark.parametrize("number", range(6))
    def test_it_encodes(embedding_model, number):
        found = embedding_model.encode([f"a cat {number}", f"a kitten {number}", "revenue"])
        assert found.shape == (3, embedding_model.get_embedding_dimension())
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)

    def test_what_an_import_left_is_frozen_once(embedding_model, embedcache_registry):
        embedding_model.encode([f"something new {os.getpid()}"])
        frozen = gc.get_freeze_count()
        assert frozen > 100_000
        embedcache_registry.get(embedding_model.spec)
        assert gc.get_freeze_count() == frozen
        assert gc.isenabled()
"""


STORED = """
    import hashlib, pathlib, sys

    def test_texts(embedding_model):
        rows = embedding_model.encode(["a cat", "a kitten", "quarterly revenue"])
        assert rows.shape == (3, 384)
        assert rows[0] @ rows[1] > rows[0] @ rows[2]
        digest = hashlib.sha256(rows.tobytes()).hexdigest()
        file = pathlib.Path("digest")
        if file.exists():
            assert file.read_text() == digest
            assert sys.modules.get("torch") is None
        else:
            file.write_text(digest)
"""


def documented(page: str, name: str) -> str:
    """The example in which a page defines the test `name`."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if f"def {name}(" in block)
    return f"import pytest\n{block}"


THREADS = """
    import os
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_it(embedding_model, number):
        embedding_model.encode([f"text {number} {os.getpid()}"])
        import torch
        with open("threads.log", "a") as log:
            log.write(f"{torch.get_num_threads()} ")
"""
PUT_BACK = """
    import sys
    import pytest

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(config):
        torch = sys.modules.get("torch")
        with open("after.log", "a") as log:
            log.write(f"{torch.get_num_threads() if torch else '-'} ")
"""


def test_the_real_model_by_its_name(real_suite: Suite, minilm_in_hub_cache: Path) -> None:
    """all-MiniLM-L6-v2 from the Hub cache: cold on two workers, a model in each, then warm.

    A run whose vectors are stored has the same bytes, and never imports torch. The examples of the
    documentation are among the tests, and hold. Each worker has its share of the cores and never
    more than the user set; it is said, and undone.
    """
    real_suite.write(
        test_it=SUITE,
        test_readme=documented("README.md", "test_cats"),
        test_page=documented("docs/testing.md", "test_ranking"),
        test_stored=STORED,
        test_threads=THREADS,
        late=PUT_BACK,
    )
    real_suite.importable()
    options = ["-p", "late", "-p", "no:randomly", "--embedcache-host=off"]
    result = real_suite.run(
        "-n", "2", *options, "--embedcache-json=counts.json", OMP_NUM_THREADS="2"
    )
    assert outcome(result) == {"passed": 14}, complaints(result)
    cold = json.loads((real_suite.path / "counts.json").read_text(encoding="utf-8"))
    (model,) = cold["models"]
    assert model["name"] == MINILM
    assert model["uses"] == 14
    workers = model["per_process"]
    assert all(row["loads"] <= 2 for row in workers.values())  # its own, and the registry's
    assert cold["totals"]["failures"] == 0
    assert cold["silent"] == []
    share = min(2, threads_per_worker(2))
    assert set((real_suite.path / "threads.log").read_text().split()) == {str(share)}
    if share < 2:
        assert "torch held to 1 thread in each process" in result.stdout.str()
    after = (real_suite.path / "after.log").read_text().split()
    assert sorted(after) == ["-", "2", "2"]  # the controller has no torch
    (real_suite.path / "test_threads.py").unlink()
    real_suite.write(test_it=SUITE.partition("def test_what")[0])
    (real_suite.path / "conftest.py").write_text(
        "import sys; sys.modules['torch'] = sys.modules['sentence_transformers'] = None\n"
    )
    each = ("-n", "2", "--dist=each", "--tx=2*popen") if find_spec("xdist") else ()
    for arguments, processes in ((), 1), (each, 2 if each else 1):
        warm = real_suite.counts(*arguments)
        assert warm["processes"] == processes
        assert (warm["totals"]["loads"], warm["totals"]["computed"]) == (0, 0)
        assert warm["totals"]["found"] == warm["totals"]["asked"] == 27 * processes
        assert warm["models"][0]["name"] == MINILM
        assert warm["totals"]["saved_seconds"] > 0


def test_a_model_that_a_conftest_loaded_is_held_as_well(real_suite: Suite, tiny: Path) -> None:
    """It was there before the plugin was configured."""
    real_suite.write(test_it=THREADS)
    (real_suite.path / "conftest.py").write_text(
        f"from pytest_embedcache import default_registry\ndefault_registry().get({str(tiny)!r})\n",
        encoding="utf-8",
    )
    result = real_suite.run(
        f"--embedcache-model={tiny}", "--embedcache-threads=1", OMP_NUM_THREADS="2"
    )
    assert outcome(result) == {"passed": 4}, complaints(result)
    assert set((real_suite.path / "threads.log").read_text().split()) == {"1"}
