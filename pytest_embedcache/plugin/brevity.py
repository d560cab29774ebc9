"""Our own errors, shown where the test made them happen and not where we raised them."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import pytest

from pytest_embedcache.errors import EmbedCacheError

__all__ = ["shorten"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def shorten(call: pytest.CallInfo[Any], config: pytest.Config) -> None:
    """Leave out our frames, and the error behind the error: its text is in the message.

    `--full-trace` shows all. Errors that are not ours stay as they are.
    """
    found = call.excinfo
    if found is None or config.option.fulltrace or not isinstance(found.value, EmbedCacheError):
        return
    entry: TracebackType | None = found.tb
    while entry is not None:  # pytest reads the raw traceback again, so it is the one to change
        following = entry.tb_next
        while following is not None and following.tb_frame.f_code.co_filename.startswith(_OURS):
            following = following.tb_next
        entry.tb_next = following
        entry = following
    found.value.__cause__ = None
    found.value.__suppress_context__ = True
