"""Whether nobody holds an object any more."""

from __future__ import annotations

import gc
import time
import weakref
from typing import Any

from support.toys import DEADLOCK

__all__ = ["is_let_go"]


def is_let_go(reference: weakref.ref[Any]) -> bool:
    """Whether the object goes, at once or when garbage is collected.

    Collected more than once: while a thread that an earlier test has left is collecting, a call of
    `gc.collect` does nothing.
    """
    until = time.monotonic() + DEADLOCK
    while reference() is not None and time.monotonic() < until:
        gc.collect()
    return reference() is None
