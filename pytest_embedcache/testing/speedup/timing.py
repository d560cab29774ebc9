"""One sample of a function's time: the call alone, in a loop as long as the timer needs."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat

__all__ = ["Collector", "Side", "Stopwatch", "Way"]

#: Seconds that a sample of a quick function takes: ten thousand times what timers resolve.
SAMPLE = 0.001
#: Seconds for one sample with all its untimed setups, which may take longer than what is timed.
PATIENCE = 0.05
#: Calls in one sample; an empty one takes 20 ns and more.
MOST = 2**17
#: Containers that are worth a collection, about as many as start one by themselves.
NEW = 1000
#: A call that cannot be told from an empty one takes this long, in seconds: ratios stay finite.
LEAST = 1e-9


def _nothing() -> None:
    pass


class Collector:
    """Frees what calls leave in cycles, such as models, while the collector is off.

    A full collection takes 0.2 s once torch is imported: so only where there is something new, and
    in a third of the time at most.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._due = clock()

    def __call__(self) -> None:
        if gc.get_count()[0] < NEW or (started := self._clock()) < self._due:
            return
        gc.collect()
        ended = self._clock()
        self._due = ended + 2 * (ended - started)


@dataclass(frozen=True)
class Side:
    """A function, and what has to happen before each of its calls."""

    call: Callable[[], object]
    setup: Callable[[], object] | None = None


@dataclass(frozen=True)
class Way:
    """How a side is sampled.

    Attributes:
        loops: Calls in one sample.
        overhead: Seconds per call that the loop and any call cost.
        cost: Seconds of one sample, with its setups.
    """

    side: Side
    loops: int
    overhead: float
    cost: float


@dataclass
class Stopwatch:
    """Takes samples. `timer` gives seconds; `collect` is called before each, untimed."""

    timer: Callable[[], float] = time.perf_counter
    collect: Callable[[], object] = field(default_factory=Collector)

    def calibrated(self, side: Side) -> Way:
        """How to sample a side, found out by calling it: once at least, which is not counted."""
        loops = 1
        while True:
            started = self.timer()
            timed = self._timed(side, loops)
            cost = self.timer() - started
            if timed >= SAMPLE or cost >= PATIENCE or loops >= MOST:
                break
            loops *= 2
        # The least of a few empty samples: what is taken off was in the sample for sure.
        empty = Side(_nothing, side.setup and _nothing)
        overhead = min(self._timed(empty, loops) for _ in range(5)) / loops
        return Way(side, loops, overhead, max(LEAST, cost))

    def seconds(self, way: Way) -> float:
        """Seconds per call of one sample."""
        return max(LEAST, self._timed(way.side, way.loops) / way.loops - way.overhead)

    def _timed(self, side: Side, loops: int) -> float:
        timer, call, setup = self.timer, side.call, side.setup
        if setup is None:
            self.collect()
            started = timer()
            for _ in repeat(None, loops):
                call()
            return timer() - started
        total = 0.0
        for number in range(loops):
            setup()
            if not number:
                self.collect()
            started = timer()
            call()
            total += timer() - started
        return total
