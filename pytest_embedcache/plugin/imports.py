"""Imports as they are in production, in the middle of a run of pytest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from _pytest.assertion.rewrite import AssertionRewritingHook

from pytest_embedcache.models.collector import collector_paused

__all__ = ["as_in_production"]

#: For how long threads of OpenBLAS look for work before they sleep, in powers of two of the
#: processor's cycles: half a millisecond instead of 30, in each worker, when numpy is imported.
_PATIENCE = ("OPENBLAS_THREAD_TIMEOUT", "20")


@contextmanager
def as_in_production() -> Iterator[None]:
    """Inside, modules are imported with the assertions that they have, and nothing is collected.

    pytest rewrites the assertions in all modules of a plugin, and looks at the name of every other
    module. Its loader takes five times as long for a module as Python's; where no bytecode is kept,
    it would besides compile ours anew in every process.
    What tests import is not touched: `testing.contracts` keeps its readable failures.

    Of a BLAS that numpy brings, the threads do not burn the cores that the workers share.
    """
    finders = sys.meta_path
    hooks = [finder for finder in finders if isinstance(finder, AssertionRewritingHook)]
    places = [finders.index(hook) for hook in hooks]
    with collector_paused(), _patience():
        try:
            for hook in hooks:
                finders.remove(hook)
            yield
        finally:
            for place, hook in zip(places, hooks, strict=True):
                if hook not in finders:
                    finders.insert(place, hook)


@contextmanager
def _patience() -> Iterator[None]:
    """What nobody has set is set while numpy may be imported, and read then."""
    name, cycles = _PATIENCE
    if "numpy" in sys.modules or name in os.environ:
        yield
        return
    os.environ[name] = cycles
    try:
        yield
    finally:
        os.environ.pop(name, None)
