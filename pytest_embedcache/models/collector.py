"""The garbage collector stands still while torch is imported and a model is built.

Importing torch and transformers allocates some two million objects that all stay; collecting
again and again among them is a quarter of the time to the first vector. The collector's state is
process-global and the user's, so it is counted over threads and put back as it was found.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]

_lock = threading.Lock()
#: The threads that are inside, each as often as it entered.
_inside: list[int] = []
_was_enabled = False


@contextmanager
def collector_paused() -> Iterator[None]:
    """No automatic collection inside; afterwards as before, when the last of several leaves."""
    global _was_enabled
    thread = threading.get_ident()
    with _lock:
        if not _inside:
            _was_enabled = gc.isenabled()
            gc.disable()
        _inside.append(thread)
    try:
        yield
    finally:
        with _lock:
            _inside.remove(thread)
            if not _inside and _was_enabled:
                gc.enable()


def _renew() -> None:
    """In a forked child: the other threads that were inside do not exist here, nor ever leave."""
    global _lock
    _lock = threading.Lock()
    here = [thread for thread in _inside if thread == threading.get_ident()]
    if _inside and not here and _was_enabled:
        gc.enable()
    _inside[:] = here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
