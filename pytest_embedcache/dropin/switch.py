"""The stand-ins of a process, put in place and taken away together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

__all__ = ["StandIn", "Switch"]


class StandIn(Protocol):
    """Takes the place of one library."""

    def install(self, switch: Switch) -> None:
        """Take it; imports nothing of the library. `switch.on` says whether it counts now."""

    def remove(self) -> None:
        """Leave everything as it was found."""


class Switch:
    """Installs stand-ins, and says whether they stand in at this moment.

    Args:
        stand_ins: One for each library.

    Attributes:
        on: False while a test runs that has said no. A stand-in then makes the real thing.
        started: Whether the run's settings are in force. Before, conftests are imported, and what
            they make is looked up when it is first used.
    """

    def __init__(self, stand_ins: Sequence[StandIn]) -> None:
        self.on = True
        self.started = False
        self._stand_ins = tuple(stand_ins)
        self._installed: list[StandIn] = []

    def install(self) -> None:
        """Put every stand-in into its place; all or none."""
        try:
            for stand_in in self._stand_ins:
                self._installed.append(stand_in)
                stand_in.install(self)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take them away, the last first; calling it again does nothing."""
        while self._installed:
            self._installed.pop().remove()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside, nothing stands in for anything."""
        before, self.on = self.on, False
        try:
            yield
        finally:
            self.on = before
