"""`--embedcache-dropin` itself: when stand-ins take their places, and when they leave them."""

from __future__ import annotations

import pytest
from support.suites import TESTS, Suite, complaints, outcome

#: A plugin that has a stand-in of its own registered, and notes what happens to it.
PLUGIN = f"""
    import sys
    sys.path.insert(0, {str(TESTS)!r})
    from support.light import note
    from pytest_embedcache.plugin import dropin

    class Noting:
        def install(self, switch):
            note("install", switch.started)

        def remove(self):
            note("remove")

    dropin._stand_ins = lambda config, settings: [Noting()]
"""
CONFTEST = """
    from support.light import note

    note("conftest")

    def pytest_sessionfinish(session):
        note("finish")
"""
TESTS_OF_IT = """
    import pytest
    from pytest_embedcache.plugin.dropin import SWITCH

    def test_on(request):
        switch = request.config.stash[SWITCH]
        assert switch.started and switch.on

    @pytest.mark.embedcache(dropin=False)
    class TestOff:
        @pytest.fixture
        def of_this_test(self, request):
            assert not request.config.stash[SWITCH].on
            yield
            assert not request.config.stash[SWITCH].on

        def test_off(self, request, of_this_test):
            assert not request.config.stash[SWITCH].on

        @pytest.mark.embedcache(dropin=True)
        def test_on_again(self, request):
            assert request.config.stash[SWITCH].on
"""
NONE = """
    from pytest_embedcache.plugin.dropin import SWITCH

    def test_none(request):
        assert SWITCH not in request.config.stash
"""
ON = {
    "option": (["--embedcache-dropin"], {}),
    "environment": ([], {"EMBEDCACHE_DROPIN": "1"}),
    "ini": (["-o", "embedcache_dropin=true"], {}),
    "workers": (["--embedcache-dropin", "-n", "1"], {}),
}


@pytest.fixture
def noting(suite: Suite) -> Suite:
    """A suite with a stand-in that notes what happens to it."""
    suite.importable()
    suite.write(noting=PLUGIN, conftest=CONFTEST, test_it=TESTS_OF_IT)
    return suite


@pytest.mark.parametrize("how", ON)
def test_it_is_there_before_the_first_conftest(noting: Suite, how: str) -> None:
    """However it is switched on, in every process; away when the process ends; the closest marker
    switches it off, fixtures of the test included."""
    arguments, environment = ON[how]
    log = noting.path / "noted"
    result = noting.run("-p", "noting", *arguments, LIGHT_LOG=str(log), **environment)
    assert outcome(result) == {"passed": 3}, complaints(result)
    noted = log.read_text().splitlines()
    processes = 2 if how == "workers" else 1
    assert noted[:2] == ["install False", "conftest"]
    assert noted[-2:] == ["finish", "remove"]
    assert noted.count("install False") == noted.count("remove") == processes


@pytest.mark.parametrize("off", [[], ["-o", "embedcache_dropin=false"]], ids=" ".join)
def test_it_is_not_there_unasked(noting: Suite, off: list[str]) -> None:
    """Not even the switch."""
    noting.write(test_it=NONE)
    log = noting.path / "noted"
    result = noting.run("-p", "noting", *off, LIGHT_LOG=str(log))
    assert outcome(result) == {"passed": 1}, complaints(result)
    assert log.read_text().splitlines() == ["conftest", "finish"]


def test_a_bad_value_is_bad_usage(noting: Suite) -> None:
    """Said once, before anything is imported."""
    result = noting.run("-p", "noting", EMBEDCACHE_DROPIN="perhaps")
    text = complaints(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "EMBEDCACHE_DROPIN" in text
    assert "true or false" in text
    assert "Traceback" not in text


def test_a_run_that_ends_before_it_begins_leaves_nothing(noting: Suite) -> None:
    """As with an option that nobody knows."""
    log = noting.path / "noted"
    result = noting.run("-p", "noting", "--embedcache-dropin", "--what", LIGHT_LOG=str(log))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert log.read_text().splitlines() == ["install False", "conftest", "remove"]


def test_a_bad_key_of_the_marker_is_said(noting: Suite) -> None:
    """`dropin` takes a truth value."""
    noting.write(
        test_it="""
            import pytest

            @pytest.mark.embedcache(dropin="no")
            def test_it(): pass
        """
    )
    text = complaints(noting.run("-p", "noting", "--embedcache-dropin"))
    assert "dropin='no' cannot be used: use True or False" in text
