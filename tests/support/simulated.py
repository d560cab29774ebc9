"""Time that passes only when it is spent: for gates, whose verdicts are then the same anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class World:
    """A clock, and functions that move it."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def spend(self, *seconds: float) -> Callable[[], None]:
        """A function that takes these times in turn."""
        turns = list(seconds)

        def call() -> None:
            self.now += turns[0]
            turns.append(turns.pop(0))

        return call

    @property
    def options(self) -> dict[str, Any]:
        """For a gate to measure in this time."""
        return {"timer": self.clock, "clock": self.clock, "collect": lambda: None}


world = World()
