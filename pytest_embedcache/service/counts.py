"""What the service has done: plain counts, from which `get_metrics` and Prometheus are told."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from pytest_embedcache.service.pricing import add_costs

__all__ = ["BATCHES", "SECONDS", "Histogram", "Line", "ServiceCounts"]

#: Upper bounds of the buckets: seconds, from a hit in memory to a model that is loaded first.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: The same for texts that are encoded together.
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


@dataclass
class Histogram:
    """How often a value was at most each bound; the last count is of those above all of them."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """One of its own."""
        return Histogram(self.bounds, list(self.counts), self.total)


@dataclass
class Line:
    """The counts of one model in one role.

    Attributes:
        requests, errors: Calls that have ended, and those of them that ended with an error.
        texts: In all calls that had a result.
        cached: Of these, those for which nothing was sent: from a store, or from another call.
        encoded: Texts that went to the model.
        tokens_sent, tokens_saved: Of texts that went to it, and of those that did not have to.
        spent, saved: US dollars, as far as the prices are known.
        unpriced: Tokens that were sent at a price that is not known.
        estimated: Tokens of `tokens_sent` that were not counted by a provider.
        seconds: Of calls, from their arrival to their result.
        encode_seconds: Of batches, in the model.
        batches: Texts of each of them.
    """

    requests: int = 0
    errors: int = 0
    texts: int = 0
    cached: int = 0
    encoded: int = 0
    tokens_sent: int = 0
    tokens_saved: int = 0
    spent: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)
    unpriced: int = 0
    estimated: int = 0
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    encode_seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    batches: Histogram = field(default_factory=lambda: Histogram(BATCHES))


class ServiceCounts:
    """A line for each model and role, counted from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[tuple[str, str], Line] = {}

    def request(
        self,
        model: str,
        role: str,
        *,
        seconds: float,
        texts: int = 0,
        cached: int = 0,
        tokens_saved: int = 0,
        saved: Decimal | None = None,
        failed: bool = False,
    ) -> None:
        """Count a call that has ended."""
        with self._lock:
            line = self._line(model, role)
            line.requests += 1
            line.errors += failed
            line.texts += texts
            line.cached += cached
            line.tokens_saved += tokens_saved
            line.saved = add_costs(line.saved, saved or Decimal(0))
            line.seconds.add(seconds)

    def encoded(
        self,
        model: str,
        role: str,
        *,
        texts: int,
        tokens: int,
        estimated: int,
        cost: Decimal | None,
        seconds: float,
    ) -> None:
        """Count a batch: its texts that went to the model, and what they cost."""
        with self._lock:
            line = self._line(model, role)
            line.encoded += texts
            line.tokens_sent += tokens
            line.estimated += estimated
            line.unpriced += tokens if cost is None else 0
            line.spent = add_costs(line.spent, cost or Decimal(0))
            line.encode_seconds.add(seconds)
            line.batches.add(texts)

    def lines(self) -> dict[tuple[str, str], Line]:
        """A copy: (model, role) -> its counts."""
        with self._lock:
            return {
                name: Line(
                    **{
                        **vars(line),
                        "seconds": line.seconds.copy(),
                        "encode_seconds": line.encode_seconds.copy(),
                        "batches": line.batches.copy(),
                    }
                )
                for name, line in self._lines.items()
            }

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            self._lines.clear()

    def renew(self) -> None:
        """In a forked child: a thread that was counting does not exist here."""
        self._lock = threading.Lock()

    def _line(self, model: str, role: str) -> Line:
        line = self._lines.get((model, role))
        if line is None:
            line = self._lines[model, role] = Line()
        return line
