"""What is imported for a model is imported as in production, and pytest's own ways come back."""

from __future__ import annotations

import gc
import sys

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
