"""The garbage collector stands still while torch is imported and a model is built.

Importing torch and transformers allocates some two million objects that all stay; collecting
again and again among them is a quarter of the time to the first vector. The collector's state is
process-global and the user's, so it is counted over threads and put back as it was found.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]

_lock = threading.Lock()
_depth = 0
_was_enabled = False


@contextmanager
def collector_paused() -> Iterator[None]:
    """No automatic collection inside; afterwards as before, when the last of several leaves."""
    global _depth, _was_enabled
    with _lock:
        if not _depth:
            _was_enabled = gc.isenabled()
            gc.disable()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth and _was_enabled:
                gc.enable()
