"""Imports as they are in production, in the middle of a run of pytest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from _pytest.assertion.rewrite import AssertionRewritingHook

from pytest_embedcache.models.collector import collector_paused

__all__ = ["as_in_production"]


@contextmanager
def as_in_production() -> Iterator[None]:
    """Inside, modules are imported with the assertions that they have, and nothing is collected.

    pytest rewrites the assertions in all modules of a plugin, and looks at the name of every other
    module. For the lower floors and numpy that is a sixth of what a run costs whose vectors are
    stored; where no bytecode is kept, pytest would besides compile ours anew in every process.
    What tests import is not touched: `testing.contracts` keeps its readable failures.
    """
    finders = sys.meta_path
    hooks = [finder for finder in finders if isinstance(finder, AssertionRewritingHook)]
    places = [finders.index(hook) for hook in hooks]
    with collector_paused():
        try:
            for hook in hooks:
                finders.remove(hook)
            yield
        finally:
            for place, hook in zip(places, hooks, strict=True):
                if hook not in finders:
                    finders.insert(place, hook)
