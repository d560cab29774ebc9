"""How the fake of OpenAI's service misbehaves: what a test asks for, one request each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_embedcache.testing.openai_service import ServiceError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Fault", "Faults", "Hang"]


class Hang:
    """A request that gets its answer when the test says so.

    Attribute: `reached`, an event: the request is there, and waits.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        """Let it be answered."""
        self._released.set()

    def wait(self) -> None:
        """Called by the server."""
        self.reached.set()
        self._released.wait()


@dataclass
class Fault:
    """What goes wrong with one request."""

    error: ServiceError | None = None
    hang: Hang | None = None
    vectors: Callable[[np.ndarray], np.ndarray] = lambda matrix: matrix
    rows: Callable[[list[Any]], list[Any]] = lambda rows: rows


class Faults:
    """What is to go wrong with the next requests that could be answered, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._hangs: list[Hang] = []

    def rate_limit_next(self, *, retry_after: float = 0.001, times: int = 1) -> None:
        """Answer 429 with `Retry-After` (seconds): the client waits that long and tries again."""
        seconds = f"{retry_after:g}"
        headers = {"Retry-After": seconds, "retry-after-ms": f"{1000 * retry_after:g}"}
        message = f"Rate limit reached. Please try again in {seconds}s."
        self._next(
            times,
            error=ServiceError(
                429, message, kind="requests", code="rate_limit_exceeded", headers=headers
            ),
        )

    def fail_next(
        self, status: int = 500, *, message: str = "", code: str | None = None, times: int = 1
    ) -> None:
        """Answer with an error; the client tries again after 408, 409, 429, and 500 and above."""
        kind = "server_error" if status >= 500 else "invalid_request_error"
        message = message or "The server had an error while processing your request. Sorry!"
        # Soon: without it the client would wait for half a second and more.
        headers = {"retry-after-ms": "1"}
        self._next(
            times, error=ServiceError(status, message, kind=kind, code=code, headers=headers)
        )

    def fewer_rows_next(self, missing: int = 1, *, times: int = 1) -> None:
        """Leave out the last rows of an answer."""
        self._next(times, rows=lambda rows: rows[:-missing])

    def reorder_next(self, *, times: int = 1) -> None:
        """Send the rows in reverse, each with its right `index`."""
        self._next(times, rows=lambda rows: rows[::-1])

    def wrong_dimension_next(self, dimension: int, *, times: int = 1) -> None:
        """Send vectors of another dimension, up to the right one."""
        self._next(times, vectors=lambda matrix: matrix[:, :dimension])

    def nan_next(self, *, times: int = 1) -> None:
        """Send NaN as the first component of the first vector."""

        def spoilt(matrix: np.ndarray) -> np.ndarray:
            matrix[0, 0] = float("nan")
            return matrix

        self._next(times, vectors=spoilt)

    def hang_next(self) -> Hang:
        """Let the next request wait for `release()`, or for the end of the test."""
        hang = Hang()
        self._hangs.append(hang)
        self._next(1, hang=hang)
        return hang

    def next_fault(self) -> Fault:
        """What goes wrong with a request that came now."""
        with self._lock:
            return self._faults.pop(0) if self._faults else Fault()

    def release_all(self) -> None:
        """Let go of what hangs."""
        for hang in self._hangs:
            hang.release()

    def _next(self, times: int, **fault: Any) -> None:
        with self._lock:
            self._faults += [Fault(**fault)] * times
