"""How many threads a model of this process may compute with, where it is not torch that says so."""

from __future__ import annotations

import os

from pytest_embedcache.models.resources import usable_cores

__all__ = ["allowed", "limit"]

_limit: int | None = None


def limit(threads: int | None) -> int | None:
    """Let models that are loaded from now on use at most `threads`; returns what held before.

    None sets no limit. Those that are loaded keep their threads.
    """
    global _limit
    previous, _limit = _limit, threads
    return previous


def allowed() -> int:
    """The usable cores, or fewer: by `limit`, or by `OMP_NUM_THREADS` as torch is."""
    bounds = [usable_cores()]
    if _limit is not None:
        bounds.append(_limit)
    # OpenMP's may be a list, of which the first is that of the outermost level.
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        bounds.append(int(first))
    return max(1, min(bounds))
