"""What one process did and when, for a report: loads, computing, and which texts took longest.

On the clock of the machine, so that workers can be drawn side by side.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.plugin.running import running_test

if TYPE_CHECKING:
    from pytest_embedcache.spec import ModelSpec

__all__ = ["SLOWEST", "Timeline"]

Row = dict[str, Any]
#: Texts that are listed.
SLOWEST = 20
#: Stretches of computing that are kept apart; more are joined, the closest first.
_STRETCHES = 500
#: Characters of a text that is shown.
_SHOWN = 500


class Timeline:
    """A `Watch`. With `texts`, the slowest texts are kept as they are, beside their digests.

    What is kept is bounded, however long the run is, but for a pair of numbers for each test in
    which something was loaded or computed.
    """

    def __init__(self, *, texts: bool = False) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._texts = texts
        self._loads: list[Row] = []
        self._stretches: list[list[float]] = []
        self._gap = 0.002
        self._slowest: dict[tuple[str, str], Row] = {}
        self._tests: dict[str, list[float]] = {}

    def loaded(
        self, spec: ModelSpec, seconds: float, *, import_seconds: float, failed: bool
    ) -> None:
        """Note a load; that of a fake is none."""
        if spec.backend == "fake" or self._is_elsewhere():
            return
        end, test = time.time(), running_test()
        row = {
            "name": spec.name,
            "device": spec.device or "",
            "start": end - seconds,
            "end": end,
            "import_seconds": import_seconds,
            "failed": failed,
            "test": test,
        }
        with self._lock:
            self._loads.append(row)
            self._of(test)[0] += seconds

    def computed(self, model: str, texts: Sequence[str], seconds: float) -> None:
        """Note one call of a model.

        Texts of one call are computed together: each has its part of the time by its length.
        """
        if self._is_elsewhere():
            return
        end, test = time.time(), running_test()
        characters = sum(map(_weight, texts)) or 1
        with self._lock:
            self._of(test)[1] += seconds
            self._stretch(end - seconds, end, len(texts))
            for text in texts:
                part = seconds * _weight(text) / characters
                if len(self._slowest) < SLOWEST or part > self._least():
                    self._keep(part, text, {"model": model, "test": test, "together": len(texts)})

    def _is_elsewhere(self) -> bool:
        """In a forked child, which reports nothing, and where the lock may be held for ever."""
        return os.getpid() != self._pid

    def _of(self, test: str) -> list[float]:
        return self._tests.setdefault(test, [0.0, 0.0])

    def _stretch(self, start: float, end: float, texts: int) -> None:
        self._stretches.append([start, end, texts])
        if len(self._stretches) > _STRETCHES:
            while len(self._stretches) > _STRETCHES // 2:
                self._stretches = _joined(self._stretches, self._gap)
                self._gap *= 2

    def _least(self) -> float:
        return float(min(row["seconds"] for row in self._slowest.values()))

    def _keep(self, seconds: float, text: str, row: Row) -> None:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        known = self._slowest.get((row["model"], digest))
        if known is not None and known["seconds"] >= seconds:
            return
        row |= {"digest": digest, "length": len(text), "seconds": seconds, "text": None}
        if self._texts:
            # It travels between processes, and half a surrogate pair cannot.
            row["text"] = text[:_SHOWN].encode("utf-8", "backslashreplace").decode()
        self._slowest[row["model"], digest] = row
        if len(self._slowest) > SLOWEST:
            del self._slowest[min(self._slowest, key=lambda key: self._slowest[key]["seconds"])]

    def as_dict(self) -> dict[str, Any]:
        """All of it in built-in types; `tests` are seconds of loading and of computing."""
        with self._lock:
            return {
                "loads": [dict(row) for row in self._loads],
                "computing": _joined(self._stretches, 0.0),
                "texts": sorted(self._slowest.values(), key=lambda row: -row["seconds"]),
                "tests": {test: list(seconds) for test, seconds in self._tests.items()},
            }


def _weight(text: str) -> int:
    return len(text) + 1  # an empty text takes its time, too


def _joined(stretches: list[list[float]], gap: float) -> list[list[float]]:
    """Stretches in their order, those that lie within `gap` seconds of each other as one."""
    joined: list[list[float]] = []
    for start, end, texts in sorted(stretches):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = [joined[-1][0], max(joined[-1][1], end), joined[-1][2] + texts]
        else:
            joined.append([start, end, texts])
    return joined
