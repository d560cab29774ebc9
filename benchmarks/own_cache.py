"""A cache directory of its own for a benchmark, which asks no network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["own_cache"]


@contextmanager
def own_cache(folder: str) -> Iterator[None]:
    """`EMBEDCACHE_DIR` is `folder`: neither the user's prepared models nor his vectors count.

    sentence-transformers would ask the Hub at every load, and the time of that is not its own.
    """
    changes = {"EMBEDCACHE_DIR": folder, "HF_HUB_OFFLINE": "1"}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
