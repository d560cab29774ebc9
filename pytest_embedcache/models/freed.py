"""Memory that a model had goes back to the system, where the allocator lets it."""

from __future__ import annotations

import contextlib
import gc
import sys
from typing import Any

__all__ = ["give_back", "trim"]


def give_back(device: str | None) -> None:
    """Collect what is left of a model of `device`, and return the free pages.

    Models hold reference cycles, so that a collection is what frees them.
    """
    gc.collect()
    torch: Any = sys.modules.get("torch")
    kind = (device or "cpu").partition(":")[0]
    library = getattr(torch, kind, None) if kind in ("cuda", "mps", "xpu") else None
    if library is not None:
        with contextlib.suppress(Exception):  # the model is gone; that is what was asked for
            library.empty_cache()
    trim()


def trim() -> None:
    """Return the free pages of the allocator, which takes less than a millisecond.

    glibc keeps freed memory for later unless it is asked (`malloc_trim`); other allocators are
    left to themselves.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # musl has none
            ctypes.CDLL(None).malloc_trim(0)
