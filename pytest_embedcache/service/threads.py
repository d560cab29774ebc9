"""The threads of a service: who waits for one model keeps nobody waiting for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

__all__ = ["AT_ONCE", "Threads"]

#: Batches of one model that may be under way: requests to an API at the same time.
AT_ONCE = 8
#: Threads that look into stores.
_LOOKING = 4

Work = Callable[[], object]


class Threads:
    """Those that look into stores, and for each model those that open it and wait for it.

    So while a provider lets its requests stand, the texts of other models do not, and neither does
    what is stored.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looking = ThreadPoolExecutor(_LOOKING, "embedcache-look")
        self._models: dict[str, ThreadPoolExecutor] = {}
        self._at_work: set[Future[object]] = set()
        self._is_closed = False

    def look(self, work: Work) -> None:
        """Run `work`, which looks into stores."""
        self._submit(self._looking, work)

    def start(self, model: str, work: Work) -> None:
        """Run `work`, which waits for a model. What was started first begins first."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the threads of this service have ended")
            pool = self._models.get(model)
            if pool is None:
                pool = self._models[model] = ThreadPoolExecutor(AT_ONCE, "embedcache-encode")
        self._submit(pool, work)

    def _submit(self, pool: ThreadPoolExecutor, work: Work) -> None:
        future = pool.submit(work)
        self._at_work.add(future)
        future.add_done_callback(self._at_work.discard)

    def close(self, until: float | None) -> int:
        """Wait for what is under way; returns how much of it goes on, and is left to itself.

        `until` is a time of `time.monotonic`; None waits as long as it takes.
        """
        seconds = None
        while under_way := list(self._at_work):
            if until is not None and (seconds := until - time.monotonic()) <= 0:
                break
            wait(under_way, seconds)  # one may have started another
        with self._lock:
            self._is_closed = True
        for pool in (self._looking, *self._models.values()):
            pool.shutdown(wait=not under_way, cancel_futures=True)
        return len(under_way)
