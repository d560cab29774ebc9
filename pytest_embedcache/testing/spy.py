"""What a fake notes: every load and every call."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from pytest_embedcache.testing.fake_names import short_name
from pytest_embedcache.testing.faults import Faults, Rows

__all__ = ["Call", "Spy"]


@dataclass(frozen=True)
class Call:
    """One call of a fake: which method of which model, with which texts and options.

    `prompt` is the one that was put before each text, empty where none was. `role` is that of the
    call, for a fake that knows roles.
    """

    model: str
    method: str
    texts: tuple[str, ...]
    options: dict[str, Any]
    prompt: str = ""
    role: str | None = None


@dataclass
class Spy:
    """Observes one fake or several, and makes them misbehave.

    Attributes:
        calls: Every call, in order; those that failed are among them.
        faults: Misbehaviour of calls.
        loading: Misbehaviour of loads.
    """

    calls: list[Call] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    loading: Faults = field(default_factory=Faults)
    _loads: list[str] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    @property
    def texts(self) -> list[str]:
        """The texts of all calls, in order."""
        return [text for call in list(self.calls) for text in call.texts]

    @property
    def batch_sizes(self) -> list[int]:
        """How many texts each call had."""
        return [len(call.texts) for call in list(self.calls)]

    def load_count(self, name: str | None = None) -> int:
        """How often a fake was constructed, or should have been and failed.

        Short and full name are one model; None counts all.
        """
        with self._lock:
            if name is None:
                return len(self._loads)
            return sum(short_name(loaded) == short_name(name) for loaded in self._loads)

    def on_load(self, name: str) -> None:
        """Called by every construction."""
        with self._lock:
            self._loads.append(name)
        self.loading.begin()

    def on_call(self, call: Call) -> Rows:
        """Called by every encoding; returns what to do to its rows."""
        with self._lock:
            self.calls.append(call)
        return self.faults.begin()

    def end(self) -> None:
        """Called when the test is over: nobody is held any longer."""
        self.faults.clear()
        self.loading.clear()
