"""What is imported for a model is imported as in production, and pytest's own ways come back."""

from __future__ import annotations

import gc
import os
import sys
from types import ModuleType

import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook

from pytest_embedcache.plugin.imports import as_in_production


class Other:
    """Somebody else's finder."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        return None


@pytest.fixture
def hook(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> AssertionRewritingHook:
    """A hook like pytest's, in the second place."""
    others = [f for f in sys.meta_path if not isinstance(f, AssertionRewritingHook)]
    hook = AssertionRewritingHook(pytestconfig)
    monkeypatch.setattr(sys, "meta_path", [Other(), hook, *others])
    return hook


def test_inside_nothing_rewrites_and_nothing_collects(hook: AssertionRewritingHook) -> None:
    """The hook is away inside, and back in its place afterwards; so is the collector."""
    before = list(sys.meta_path)
    with as_in_production():
        assert sys.meta_path == [finder for finder in before if finder is not hook]
        assert not gc.isenabled()
    assert sys.meta_path == before
    assert gc.isenabled()


def test_after_an_error_pytest_rewrites_again(hook: AssertionRewritingHook) -> None:
    """A module that cannot be imported leaves pytest as it was."""
    before = list(sys.meta_path)
    with pytest.raises(ModuleNotFoundError), as_in_production():
        import pytest_embedcache.there_is_no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert sys.meta_path == before
    assert gc.isenabled()


def test_a_finder_that_an_import_adds_stays(hook: AssertionRewritingHook) -> None:
    """As six does; the hook is back in its place all the same."""
    added = Other()
    with as_in_production():
        sys.meta_path.append(added)
    assert sys.meta_path[1] is hook
    assert sys.meta_path[-1] is added


def test_without_the_hook_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `--assert=plain` there is none."""
    without = [f for f in sys.meta_path if not isinstance(f, AssertionRewritingHook)]
    monkeypatch.setattr(sys, "meta_path", list(without))
    with as_in_production():
        pass
    assert sys.meta_path == without


BLAS = "OPENBLAS_THREAD_TIMEOUT"


def test_threads_of_blas_are_told_not_to_burn_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """While numpy may be imported, and at no other time; a user's own setting stays."""
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.delenv(BLAS, raising=False)
    with as_in_production():
        assert os.environ[BLAS] == "20"
    assert BLAS not in os.environ
    monkeypatch.setenv(BLAS, "26")
    with as_in_production():
        assert os.environ[BLAS] == "26"
    assert os.environ[BLAS] == "26"


def test_of_a_numpy_that_is_there_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has read the variable."""
    monkeypatch.setitem(sys.modules, "numpy", ModuleType("numpy"))
    monkeypatch.delenv(BLAS, raising=False)
    with as_in_production():
        assert BLAS not in os.environ
