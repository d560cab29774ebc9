"""The plugin in a run that does not use it: nothing is imported, written, changed or said."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support.suites import ALONE, Suite, complaints

HEAVY = {"filelock", "huggingface_hub", "numpy", "platformdirs", "sentence_transformers", "torch"}
CONFTEST = """
    import gc, json, os, sys, threading

    before = dict(os.environ)

    def pytest_unconfigure(config):
        name = os.environ.get("PYTEST_XDIST_WORKER", "main")
        changed = {
            key for key in {**before, **os.environ}
            if before.get(key) != os.environ.get(key) and not key.startswith("PYTEST_")
        }
        found = {
            "modules": sorted(sys.modules),
            "environment": sorted(changed),
            "frozen": gc.get_freeze_count(),
            "collecting": gc.isenabled(),
            "threads": threading.active_count(),
        }
        with open(os.path.join(os.environ["REPORTS"], name + ".json"), "w") as file:
            json.dump(found, file)
"""
SUITE = """
    import pytest

    @pytest.mark.parametrize("n", [1, 2])
    def test_it(n, tmp_path):
        pass
"""


@pytest.fixture
def idle(real_suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> Suite:
    """A suite that has nothing to do with us, in an empty home; no plugins but those named."""
    home = tmp_path_factory.mktemp("home")
    for name in ("EMBEDCACHE_DIR", "HF_HOME", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("REPORTS", str(tmp_path_factory.mktemp("reports")))
    real_suite.plugins = ()
    (real_suite.path / "conftest.py").write_text(dedent(CONFTEST), encoding="utf-8")
    real_suite.write(test_it=SUITE)
    return real_suite


def reports() -> dict[str, dict[str, Any]]:
    """By process, what it was like at its end; the reports are then gone."""
    found = {}
    for file in sorted(Path(os.environ["REPORTS"]).iterdir()):
        found[file.stem] = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
    return found


def files_of(suite: Suite) -> list[str]:
    """All files, less bytecode and each run's own temporary directory."""
    paths = (path.relative_to(suite.path) for path in suite.path.rglob("*"))
    return sorted(str(p) for p in paths if not re.search(r"__pycache__|^runpytest", str(p)))


def words(result: pytest.RunResult) -> list[str]:
    """The output without times, and without the list of plugins."""
    lines = [re.sub(r"\d+\.\d+s", "0s", line) for line in complaints(result).splitlines()]
    return [line for line in lines if not line.startswith("plugins:")]


@pytest.mark.parametrize(
    "arguments",
    [(), ("--collect-only", "-q"), ("-p", "xdist", "-n", "2"), ("-p", "no:terminal")],
    ids=" ".join,
)
def test_an_idle_plugin_leaves_no_trace(idle: Suite, arguments: tuple[str, ...]) -> None:
    """Modules, environment, collector, threads, files and output are as without it."""
    home = Path(os.environ["HOME"])
    without = idle.run(*arguments)
    other = reports()
    files = files_of(idle)
    with_us = idle.run("-p", "embedcache", *arguments)
    assert with_us.ret == without.ret == 0
    assert words(with_us) == words(without)
    assert files_of(idle) == files
    assert list(home.iterdir()) == []
    ours = reports()
    assert set(ours) == set(other)
    for process, found in ours.items():
        brought = set(found["modules"]) - set(other[process]["modules"])
        assert "pytest_embedcache.plugin" in brought, process
        assert HEAVY.isdisjoint(found["modules"]), process
        for name in ("environment", "frozen", "collecting", "threads"):
            assert found[name] == other[process][name], (process, name)
        packages = {name.partition(".")[0] for name in brought} - set(sys.stdlib_module_names)
        assert packages == {"pytest_embedcache"}, process


def test_installed_it_is_as_idle(idle: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an entry point, in a run of everybody who has it installed."""
    monkeypatch.delenv(ALONE)
    seed = ("-p", "no:randomly")  # its first line differs from run to run
    without, other = idle.run(*seed, "-p", "no:embedcache"), reports()["main"]
    with_us, ours = idle.run(*seed), reports()["main"]
    assert words(with_us) == words(without)
    brought = set(ours["modules"]) - set(other["modules"])
    assert "pytest_embedcache.plugin" in brought
    assert HEAVY.isdisjoint(brought)


def test_an_unused_marker_is_known_and_harmless(idle: Suite) -> None:
    """On a test that has none of our fixtures; also where markers must be known."""
    idle.write(
        test_it="""
            import pytest
            pytestmark = pytest.mark.embedcache(model="other")

            def test_it(): pass
            class TestIt:
                def test_it(self): pass
        """
    )
    result = idle.run("-p", "embedcache", "--strict-markers", "--strict-config")
    assert result.ret == 0
    assert "embedcache ==" not in complaints(result)
    assert HEAVY.isdisjoint(reports()["main"]["modules"])


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--embedcache-threads=1",), {}),
        ((), {"EMBEDCACHE_MODEL": "m"}),
        (("-o", "embedcache_dir=c"), {}),
    ],
    ids=["option", "environment", "ini"],
)
def test_what_is_set_is_said_in_the_header_and_still_loads_nothing(
    idle: Suite, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    """One line; no summary, where nothing happened."""
    result = idle.run("-p", "embedcache", *arguments, **environment)
    text = complaints(result)
    assert sum(line.startswith("embedcache: ") for line in text.splitlines()) == 1
    assert " embedcache ==" not in text
    assert HEAVY.isdisjoint(reports()["main"]["modules"])
    assert not (idle.path / "c").exists()
