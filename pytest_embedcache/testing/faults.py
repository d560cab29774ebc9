"""Misbehaviour on request: what a model does on a bad day, at the call that a test says.

Nothing sleeps: a delay and a hang end when the test releases them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Faults", "Hold", "RateLimited"]

#: Seconds after which a hang that nobody released is an error, so that no suite stands still.
LIMIT = 60.0

Rows = Callable[["np.ndarray"], "np.ndarray"]


class RateLimited(Exception):  # noqa: N818 - what happened, as services' clients name it
    """A service says "too many requests".

    Has what clients look at: `status_code` (429), `retry_after` in seconds, and `response` with
    `status_code` and `headers`.
    """

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(f"429 Too Many Requests; Retry-After: {retry_after:g}")
        self.status_code = 429
        self.retry_after = retry_after
        self.headers = {"retry-after": f"{retry_after:g}"}
        self.response = SimpleNamespace(status_code=429, headers=self.headers)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.retry_after,)


class Hold:
    """A place where calls stand until the test lets them go.

    Attributes:
        reached: Set as soon as a call stands there: `hold.reached.wait(10)`.
    """

    def __init__(self, seconds: float | None = None, limit: float = LIMIT) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()
        self._seconds = seconds
        self._limit = limit

    def release(self) -> None:
        """Let everybody go on, also those who come later."""
        self._released.set()

    def stand(self) -> None:
        """Called by the fake."""
        self.reached.set()
        if self._released.wait(self._limit if self._seconds is None else self._seconds):
            return
        if self._seconds is None:
            raise TimeoutError(
                f"a fake hung for {self._limit:g} s, and nobody released it: call release() on "
                "what hang() returned"
            )


@dataclass(frozen=True)
class _Fault:
    before: Callable[[], object] = lambda: None
    after: Rows = lambda rows: rows


class Faults:
    """What goes wrong, and when: `call=1` is the next call, for `times` calls from there on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._planned: dict[int, list[_Fault]] = {}
        self._holds: list[Hold] = []

    def fail(self, error: BaseException, *, call: int = 1, times: int = 1) -> None:
        """Raise `error`."""

        def before() -> None:
            raise error

        self._plan(_Fault(before), call, times)

    def rate_limit(self, retry_after: float = 1.0, *, call: int = 1, times: int = 1) -> None:
        """Raise `RateLimited`, with a Retry-After of so many seconds."""

        def before() -> None:
            raise RateLimited(retry_after)

        self._plan(_Fault(before), call, times)

    def fewer_rows(self, by: int = 1, *, call: int = 1, times: int = 1) -> None:
        """Leave out the last rows."""
        self._plan(_Fault(after=lambda rows: rows[: max(0, len(rows) - by)]), call, times)

    def reorder_rows(self, *, call: int = 1, times: int = 1) -> None:
        """Return the rows from the last to the first."""
        self._plan(_Fault(after=lambda rows: rows[::-1].copy()), call, times)

    def wrong_dimension(self, by: int = -1, *, call: int = 1, times: int = 1) -> None:
        """Return rows with so many columns more, or less."""

        def after(rows: np.ndarray) -> np.ndarray:
            import numpy as np

            wide = np.pad(rows, ((0, 0), (0, max(0, by))))
            return wide[:, : rows.shape[1] + by].copy()

        self._plan(_Fault(after=after), call, times)

    def not_finite(
        self, row: int = 0, value: float = float("nan"), *, call: int = 1, times: int = 1
    ) -> None:
        """Put `value` (NaN, or an infinity) into the first component of a row."""

        def after(rows: np.ndarray) -> np.ndarray:
            rows = rows.copy()
            rows[row, 0] = value
            return rows

        self._plan(_Fault(after=after), call, times)

    def delay(
        self,
        seconds: float,
        *,
        wait: Callable[[float], object] | None = None,
        call: int = 1,
        times: int = 1,
    ) -> Hold:
        """Answer only after so many seconds, or as soon as the hold that is returned is released.

        `wait` is called with the seconds in place of waiting: a test with a clock of its own.
        """
        hold = self._hold(Hold(seconds))
        before = hold.stand if wait is None else lambda: wait(seconds)
        self._plan(_Fault(before), call, times)
        return hold

    def hang(self, *, call: int = 1, times: int = 1, limit: float = LIMIT) -> Hold:
        """Do not answer before the hold that is returned is released."""
        hold = self._hold(Hold(limit=limit))
        self._plan(_Fault(hold.stand), call, times)
        return hold

    def begin(self) -> Rows:
        """Called by the fake for each call: raises or waits, and returns what to do to the rows."""
        with self._lock:
            self._calls += 1
            faults = self._planned.pop(self._calls, [])
        for fault in faults:
            fault.before()

        def after(rows: np.ndarray) -> np.ndarray:
            for fault in faults:
                rows = fault.after(rows)
            return rows

        return after

    def clear(self) -> None:
        """Forget what is planned, and release everybody."""
        with self._lock:
            self._planned.clear()
        for hold in self._holds:
            hold.release()

    def _plan(self, fault: _Fault, call: int, times: int) -> None:
        if call < 1 or times < 1:
            raise ValueError(f"call={call}, times={times}: both count from 1, the next call")
        with self._lock:
            for number in range(self._calls + call, self._calls + call + times):
                self._planned.setdefault(number, []).append(fault)

    def _hold(self, hold: Hold) -> Hold:
        self._holds.append(hold)
        return hold
