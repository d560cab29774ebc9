"""Models that fail, workers that die, runs that are stopped: said once, and put back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.suites import Suite, complaints, outcome

from pytest_embedcache.models.locking import machine_lock


def written(suite: Suite) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((suite.path / "counts.json").read_text(encoding="utf-8"))
    return found


# ------------------------------------------------------------------------------ models that fail


BROKEN = """
    import pytest

    @pytest.mark.parametrize("number", range(3))
    def test_it(embedding_model, number):
        embedding_model.encode([f"text {number}"])
"""


def test_a_model_that_cannot_be_loaded_is_one_clear_error_in_each_test(suite: Suite) -> None:
    """At the test's own line; with --full-trace also where it comes from."""
    suite.write(test_it=BROKEN)
    result = suite.run("--embedcache-model=broken", "--embedcache-json=counts.json")
    text = complaints(result)
    assert outcome(result) == {"failed": 3}
    said = "ModelLoadError: model 'broken' could not be loaded (toy): it is broken. Take another."
    assert sum(line.startswith("E  ") and said in line for line in result.outlines) == 3
    assert text.count('>       embedding_model.encode([f"text {number}"])') == 3
    assert "direct cause" not in text
    (model,) = written(suite)["models"]
    assert model["failures"] == len(suite.noted()) == 3
    assert (model["loads"], written(suite)["totals"]["computed"]) == (0, 0)

    full = suite.run("--embedcache-model=broken", "--full-trace", "-k", "2")
    assert "_load_in_turn" in full.stdout.str()


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=" ".join)
def test_a_model_that_is_not_there_fails_every_test_by_its_name(
    suite: Suite, arguments: tuple[str, ...]
) -> None:
    """Looked for once in a process: the fixture keeps the answer."""
    suite.write(
        conftest="""
            from support.inner import Backend, note
            from pytest_embedcache.errors import ModelNotFoundError

            def identify(self, spec, artifacts):
                note("identify")
                raise ModelNotFoundError(spec.name, "there is none", "Take another.")

            Backend.identify = identify
            Backend.prepare = identify
        """,
        test_it=BROKEN,
    )
    result = suite.run("--embedcache-model=nowhere", *arguments)
    text = complaints(result)
    assert outcome(result) == {"errors": 3}
    assert "Traceback" not in text
    assert "another exception" not in text
    said = "ModelNotFoundError: model 'nowhere': there is none. Take another."
    assert sum(line.endswith(said) and "ERROR" not in line for line in result.outlines) == 3
    processes = [words[-1] for words in suite.noted()]
    assert len(processes) == 2 * len(set(processes))  # identified, and again after preparing


# ------------------------------------------------------------------------------ others at work


@pytest.mark.parametrize("arguments", [(), ("-n", "1"), ("-s", "-p", "no:logging")], ids=" ".join)
def test_whoever_looks_on_is_told_for_whom_a_run_waits(
    suite: Suite, cache_dir: Path, arguments: tuple[str, ...]
) -> None:
    """At once and with the holder's name, though output is captured; after the deadline the test
    has the error."""
    suite.write(
        conftest="""
            from support.inner import Backend

            def prepare(self, spec, artifacts):
                artifacts._announce_after = 0.0
                with artifacts.alone("busy", "the model"):
                    raise AssertionError("two at a time")

            Backend.prepare = Backend.identify = prepare
        """,
        test_it="def test_it(embedding_model): pass",
    )
    with machine_lock(cache_dir / "v1" / "locks" / "busy.lock", "the model", timeout=0.0):
        result = suite.run(*arguments, EMBEDCACHE_LOCK_TIMEOUT="0.1")
    complaints(result)
    assert outcome(result) == {"errors": 1}
    holder = f"process {os.getpid()} on "
    said = f"embedcache: Waiting for the model, which {holder}"
    lines = [line for line in result.errlines if line.startswith("embedcache: ")]
    assert lines
    assert all(line.startswith(said) for line in lines)
    assert f"for the model, which {holder}" in result.stdout.str()
    assert "LockTimeoutError" in result.stdout.str()


# ------------------------------------------------------------------------------ workers that die


@pytest.mark.parametrize(
    ("death", "restarts"),
    [("os._exit(9)", "4"), ("os.abort()", "0")],
    ids=["exit-replaced", "abort-not-replaced"],
)
def test_a_dead_worker_makes_no_total_nonsense(suite: Suite, death: str, restarts: str) -> None:
    """It is named, its counts are in none, and the others' add up to what their log shows."""
    suite.write(
        test_it=f"""
            import os
            import pytest

            @pytest.mark.parametrize("number", range(8))
            def test_it(embedding_model, number):
                embedding_model.encode([f"text {{number}}"])
                if number == 3:
                    {death}
        """
    )
    result = suite.run(
        "-n",
        "2",
        f"--max-worker-restart={restarts}",
        "-p",
        "no:randomly",
        "-p",
        "no:faulthandler",
        "--embedcache-json=counts.json",
    )
    text = complaints(result)
    assert result.ret != 0
    assert outcome(result)["failed"] == 1
    counts = written(suite)
    (dead,) = counts["silent"]
    assert f"no counts from {dead}" in text
    assert dead not in [name for m in counts["models"] for name in m["per_process"]]
    totals = counts["totals"]
    assert all(0 <= value < 1000 for value in totals.values()), totals
    loads = len(suite.noted())
    assert totals["loads"] == loads - 1
    (model,) = counts["models"]
    assert sum(row["loads"] for row in model["per_process"].values()) == totals["loads"]
    assert model["uses"] == totals["asked"] <= 7
    assert text.count(" embedcache ==") == 1


def test_a_worker_that_dies_in_a_run_without_models_is_no_news_of_ours(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was set and nothing used: there is no summary."""
    monkeypatch.delenv("EMBEDCACHE_DIR")
    suite.write(test_it="import os\ndef test_it(): os._exit(9)")
    result = suite.run("-n", "1", "--max-worker-restart=0")
    assert " embedcache ==" not in complaints(result)


# ------------------------------------------------------------------------------ runs that stop


def test_a_run_that_stops_early_still_has_its_counts(suite: Suite) -> None:
    """`-x`, alone and on workers; and a run that is interrupted."""
    suite.write(
        test_it="""
            import pytest

            @pytest.mark.parametrize("number", range(6))
            def test_it(embedding_model, number, request):
                distributed = getattr(request.config.option, "dist", "no")
                embedding_model.encode([f"text {number} {distributed}"])
                if number == 1:
                    raise request.config.failure
        """,
        conftest="""
            def pytest_addoption(parser):
                parser.addoption("--failure", default="ValueError")

            def pytest_configure(config):
                config.failure = {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}[
                    config.option.failure
                ]
        """,
    )
    order = ("-p", "no:randomly", "--embedcache-json=counts.json")
    for arguments in (("-x",), ("--failure=KeyboardInterrupt",), ("-x", "-n", "2")):
        result = suite.run(*order, *arguments)
        text = complaints(result)
        assert result.ret != 0
        assert text.count(" embedcache ==") == 1
        counts = written(suite)
        assert counts["silent"] == []
        assert counts["totals"]["loads"] == len(suite.noted())
        if "-n" not in arguments:
            assert counts["totals"]["asked"] == 2


def test_a_file_that_cannot_be_written_ends_no_run(suite: Suite) -> None:
    """The run succeeds, and the summary says what was wrong."""
    suite.write(test_it=BROKEN)
    result = suite.run(f"--embedcache-json={suite.path}")
    assert outcome(result) == {"passed": 3}
    text = complaints(result)
    assert f"the counts could not be written to {suite.path}" in text


# ------------------------------------------------------------------------------ put back


def test_after_the_run_everything_is_as_before(suite: Suite) -> None:
    """Environment, collector, factories, default registry and store; also in a process that goes
    on, where a second run starts from nothing."""
    suite.write(
        test_it="""
            from pytest_embedcache import get_model
            def test_it(embedding_model, embedcache_registry):
                assert get_model("all-MiniLM-L6-v2") is embedding_model
                embedding_model.encode(["a"])
        """,
        program="""
            import gc, os, sys
            import pytest
            from pytest_embedcache.models import defaults, registry
            from pytest_embedcache.vectors import api

            def state():
                return {
                    "environment": {k: v for k, v in os.environ.items() if "PYTEST" not in k},
                    "collector": (gc.isenabled(), gc.get_threshold()),
                    "factories": (defaults.registry_factory, defaults.cache_factory),
                    "backends": defaults.backends,
                    "registry": registry._default,
                    "store": api._default,
                    "fakes": "sentence_transformers" in sys.modules,
                }

            before = state()
            for run in (1, 2):
                assert pytest.main(["-q", "-p", "no:cacheprovider", "--embedcache-mode=live"]) == 0
                assert state() == before, (before, state())
                gc.collect()
                assert registry.all_registries() == []

            mine = registry.ModelRegistry(after_import=print)
            registry.swap_default_registry(mine)
            assert pytest.main(["-q", "-p", "no:cacheprovider", "--embedcache-mode=live"]) == 0
            assert registry.default_registry() is mine
            assert (mine.after_import, mine.backends) == (print, None)
            assert mine.stats().loads == 1
            print("AS BEFORE")
        """,
    )
    result = suite.program("program")
    assert "AS BEFORE" in result.stdout.str(), result.stdout.str() + result.stderr.str()
    assert [words[:2] for words in suite.noted()] == [["load", "all-MiniLM-L6-v2"]] * 3


def test_a_model_of_a_conftest_is_the_model_of_the_run(suite: Suite) -> None:
    """Asked for before any plugin was configured: the same object, in the summary."""
    suite.write(
        conftest="""
            from pytest_embedcache import default_registry, get_model
            model = get_model("all-MiniLM-L6-v2")
            default_registry().get("by-the-registry")
        """,
        test_it="""
            from conftest import model
            from pytest_embedcache import default_registry

            def test_it(embedding_model):
                assert embedding_model.encode(["a"]).tolist() == model.encode(["a"]).tolist()
                default_registry().get("by-the-registry")
        """,
    )
    counts = suite.counts()
    assert {m["name"]: m["loads"] for m in counts["models"]} == {
        "all-MiniLM-L6-v2": 1,
        "by-the-registry": 1,
    }
    assert len(suite.noted()) == 2


def test_a_controller_without_the_plugin_is_no_trouble_for_workers(suite: Suite) -> None:
    """Whose settings are then their own."""
    suite.write(
        conftest="""
            import os
            if "PYTEST_XDIST_WORKER" in os.environ:
                pytest_plugins = ["pytest_embedcache.plugin"]
        """,
        test_it="def test_it(embedding_model): embedding_model.encode(['a'])",
    )
    suite.plugins = ()
    result = suite.run("-n", "1")
    complaints(result)
    assert outcome(result) == {"passed": 1}
