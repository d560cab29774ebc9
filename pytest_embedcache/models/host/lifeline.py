"""A host ends with the process it is for, however that ends."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable

__all__ = ["is_over"]


def is_over(process: int) -> Callable[[], bool] | None:
    """Something that tells, each time it is called, whether the process of this id has ended.

    None where the system has no way to know: then a host goes by its connections. A process that
    was killed has ended, though nobody has fetched its status yet.
    """
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):  # an old kernel, or a sandbox
            return _by_descriptor(process)
    if sys.platform != "linux" and hasattr(select, "kqueue"):
        return _by_queue(process)
    if os.name == "posix":
        return lambda: not _exists(process)
    return None


def _by_descriptor(process: int) -> Callable[[], bool]:
    try:
        # Of this very process: another one that gets its id later is not meant.
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return lambda: True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda: bool(poll.poll(0))


def _by_queue(process: int) -> Callable[[], bool]:  # pragma: no cover - BSD and macOS
    kq = select
    queue = kq.kqueue()  # type: ignore[attr-defined,unused-ignore]
    event = kq.kevent(  # type: ignore[attr-defined,unused-ignore]
        process,
        filter=kq.KQ_FILTER_PROC,  # type: ignore[attr-defined,unused-ignore]
        flags=kq.KQ_EV_ADD,  # type: ignore[attr-defined,unused-ignore]
        fflags=kq.KQ_NOTE_EXIT,  # type: ignore[attr-defined,unused-ignore]
    )
    try:
        queue.control([event], 0)
    except ProcessLookupError:
        return lambda: True
    over: list[object] = []

    def tell() -> bool:
        over.extend(queue.control([], 1, 0))
        return bool(over)

    return tell


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
