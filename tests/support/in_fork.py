"""A process that forks: imported in a process of its own, which ends by itself if it hangs."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable

__all__ = ["in_child"]

signal.alarm(120)
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: forking with threads


def in_child(work: Callable[[], object]) -> int:
    """The exit status of a child that does `work`; 0 is that all its assertions hold."""
    child = os.fork()
    if not child:
        signal.alarm(60)  # the parent must not wait for it for ever
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
