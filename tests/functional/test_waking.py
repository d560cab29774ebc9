"""A run begins to use the plugin when something of it is used, whoever does so, and not before."""

from __future__ import annotations

from typing import Any

import pytest
from support.suites import Suite, complaints, outcome

#: Nothing is set; the cache directory is the user's.
UNSET = {"EMBEDCACHE_DIR": ""}
CODE = """
    from pytest_embedcache import get_model

    def meaning(text):
        return get_model("toy").encode(text)
"""
ASLEEP = """
    def asleep(request):
        return not request.config.pluginmanager.has_plugin("embedcache-run")
"""


@pytest.fixture
def unset(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> Suite:
    """A suite of toys for which nothing is set."""
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home))
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    suite.importable()
    suite.write(embedding=CODE, asleep=ASLEEP)
    return suite


def test_a_run_without_us_has_no_hook_around_its_tests(unset: Suite) -> None:
    """Neither the run's own plugin nor what it imports is there, at the last moment."""
    unset.write(
        test_it="""
            import sys
            from asleep import asleep

            def test_it(request):
                assert asleep(request)
                ours = {name for name in sys.modules if name.startswith("pytest_embedcache.")}
                # The toys bring some; of the plugin there is what its start takes, and no more.
                brought = ("ci", "fixtures", "imports", "options", "table", "values", "waking")
                assert {name for name in ours if ".plugin." in name} <= {
                    f"pytest_embedcache.plugin.{name}" for name in brought
                }
        """
    )
    result = unset.run(**UNSET)
    assert outcome(result) == {"passed": 1}, complaints(result)


def test_what_wakes_is_loaded_by_python_and_not_by_pytest(unset: Suite) -> None:
    """Whose loader takes five times as long: only the door, which pytest itself imports, has it."""
    unset.write(
        # As where the package is installed, and not only linked to a checkout.
        installed="""
            import pytest

            pytest.register_assert_rewrite("pytest_embedcache")
        """,
        test_it="""
            import sys
            from _pytest.assertion.rewrite import AssertionRewritingHook

            def test_it(embedding_model):
                ours = {n: m for n, m in sys.modules.items() if n.startswith("pytest_embedcache")}
                assert "pytest_embedcache.plugin.run" in ours
                rewritten = {n for n, m in ours.items() if type(m.__loader__) is type(__loader__)}
                assert type(__loader__) is AssertionRewritingHook
                plugin = {n for n in rewritten if ".plugin" in n}
                door = ("", ".imports", ".ci")
                assert plugin == {f"pytest_embedcache.plugin{name}" for name in door}
        """,
    )
    result = unset.run("-p", "no:randomly", PYTEST_ADDOPTS="-p installed", **UNSET)
    assert outcome(result) == {"passed": 1}, complaints(result)


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["serial", "workers"])
def test_code_under_test_wakes_it_and_is_counted(unset: Suite, arguments: tuple[str, ...]) -> None:
    """Without a fixture, an option or a variable; an idle worker has not crashed."""
    unset.write(
        test_it="""
            from asleep import asleep
            from embedding import meaning
            import pytest

            def test_first(request):
                assert asleep(request)
                assert len(meaning("a")) == 8
                assert not asleep(request)

            @pytest.mark.parametrize("n", range(3))
            def test_other(n):
                pass
        """
    )
    result = unset.run("-p", "no:randomly", *arguments, **UNSET)
    assert outcome(result) == {"passed": 4}, complaints(result)
    text = complaints(result)
    assert "toy on cpu: 1 load\n" in text
    assert "vectors: 1 text asked, 0 found, 1 computed" in text
    assert "crashed" not in text


@pytest.mark.parametrize(
    "test",
    [
        "def test_it(embedding_model): pass",
        "def test_it(request): request.getfixturevalue('embedding_model')",
        "@pytest.mark.usefixtures('embedcache_model')\ndef test_it(): pass",
        "@pytest.fixture\ndef other(embedding_model): pass\ndef test_it(other): pass",
    ],
    ids=["argument", "dynamic", "usefixtures", "through another"],
)
def test_a_fixture_wakes_it(unset: Suite, test: str) -> None:
    """However a test comes by it; the registry of code under test is then the run's."""
    unset.write(test_it=f"import pytest\n{test}\ndef test_after(): pass\n")
    result = unset.run("-p", "no:randomly", **UNSET)
    assert outcome(result) == {"passed": 2}, complaints(result)


def test_a_marker_that_a_conftest_adds_late_is_obeyed(unset: Suite) -> None:
    """After the tests are collected: no real model may be loaded, and none is."""
    unset.write(
        conftest="""
            import pytest

            def pytest_collection_modifyitems(items):
                for item in items:
                    item.add_marker(pytest.mark.embedcache(no_models=True))
        """,
        test_it="""
            import pytest
            from embedding import meaning
            from pytest_embedcache.errors import RealModelError

            def test_it():
                with pytest.raises(RealModelError):
                    meaning("a")
        """,
    )
    result = unset.run(**UNSET)
    assert outcome(result) == {"passed": 1}, complaints(result)


def test_tests_that_were_left_out_before_it_woke_are_known(unset: Suite) -> None:
    """A gate over a benchmark that was deselected says so, and does not call it misspelt."""
    unset.write(
        test_it="""
            from pytest_embedcache.plugin.waking import RUN, wake

            def test_left_out(): pass

            def test_it(request):
                assert RUN not in request.config.stash
                run = wake(request.config)
                assert [item.name for item in run.left_out] == ["test_left_out"]
                assert "test_left_out" in run.gates.deselected
                assert run.recordings.found()["deselected"] == 1
        """
    )
    result = unset.run("-k", "test_it and not left_out", **UNSET)
    assert result.ret == 0, complaints(result)
    assert outcome(result) == {"passed": 1, "deselected": 1}, complaints(result)


def test_what_stood_in_for_the_defaults_is_gone_after_the_run(unset: Suite) -> None:
    """Asleep or awake: a process that runs pytest and goes on has its own registry and store."""
    unset.write(
        test_idle="def test_it(): pass",
        test_used="""
            from embedding import meaning

            def test_it():
                meaning("a")
        """,
        program="""
            import pytest
            from pytest_embedcache.models import defaults

            mine = defaults.set_factories(None, None)
            for name in ("test_idle.py", "test_used.py"):
                assert pytest.main(["-q", "-p", "embedcache", name]) == 0
                assert (defaults.registry_factory, defaults.cache_factory) == (None, None)
        """,
    )
    result = unset.program("program")
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
