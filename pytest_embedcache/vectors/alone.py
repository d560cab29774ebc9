"""Each text by itself, on one thread: its vector's bytes then depend on nothing but the text.

Encoders give a text slightly other bytes in another batch, and with another number of threads.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["one_by_one", "one_thread"]

_lock = threading.Lock()
_inside = 0
_before: int | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """torch has one thread meanwhile; the last who leaves puts back what was set.

    The number is the process's: with several threads inside, only the first sees what it was.
    """
    global _inside, _before
    torch = sys.modules.get("torch")
    with _lock:
        _inside += 1
        if torch is not None and _before is None:
            _before = torch.get_num_threads()
            torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _before is not None and torch is not None:
                torch.set_num_threads(_before)
                _before = None


def one_by_one(
    compute: Callable[[Any, list[str]], Any],
) -> Callable[[Any, list[str]], Any]:
    """`compute`, called for one text at a time: (model, texts) -> one row for each."""

    def alone(model: Any, texts: list[str]) -> Any:
        with one_thread():
            rows = [np.asarray(compute(model, [text])) for text in texts]
        wrong = [row for row in rows if row.ndim != 2 or len(row) != 1]
        # The caller looks at the shape of what it gets, and names the model.
        return wrong[0][:0] if wrong else np.concatenate(rows)

    return alone


def _after_fork_in_child() -> None:
    """The threads that were inside do not exist here; torch has the number that it has."""
    global _lock, _inside, _before
    _lock, _inside, _before = threading.Lock(), 0, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
