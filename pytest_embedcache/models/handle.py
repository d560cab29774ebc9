"""One model's life: not loaded, loading, ready, or failed."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.collector import collector_paused
from pytest_embedcache.models.turn import turn
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.models.backends import Backend

__all__ = ["OF_THE_CALLER", "Counts", "ModelHandle"]

#: The item of a backend's state that is the calling thread's: absent while that has set nothing,
#: and no part of what a model was like when it was loaded.
OF_THE_CALLER = "autocast"

_log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What happened to one model in this process; outlives its eviction.

    `gets` counts calls that returned the model: `next()` on it is atomic and needs no lock.
    """

    gets: Iterator[int] = field(default_factory=itertools.count)
    loads: int = 0
    failures: int = 0
    evictions: int = 0
    #: Seconds of all loads, from the libraries imported to the model built.
    load_seconds: float = 0.0
    #: Seconds of importing the libraries, where this process had not imported them.
    import_seconds: float = 0.0

    @property
    def gets_so_far(self) -> int:
        """The number of gets; reading it does not count."""
        return int(repr(self.gets)[len("count(") : -1])


class _Flight:
    """One attempt to load, with those who wait for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: BaseException | None = None


class ModelHandle:
    """Holds the model of one resolved spec, and loads it once however many ask.

    Args:
        spec: The resolved spec.
        backend: Builds the model.
        asked_as: The name under which it was first asked for; for people.
        after_import: Called with whether the libraries were imported just now, before the model
            is built.
        counts: Where to count; shared with the registry.

    Attributes:
        model: The model, None unless it is ready. Reading it is the whole of a hit.
        hits: The counter of gets.
        error: What the last attempt failed with, as text (the exception itself would keep every
            frame that it passed through), None where it succeeded.
        load_time: Seconds of the last load, None before.
        signature: Of the files that were loaded, None where they changed meanwhile.
        pristine: The model's state right after it was loaded.
        handed_out: Somebody got the model to change it: its vectors are no longer those of its
            files.
        encoding: Held around a call of the model; its tokenizer is not safe in threads.
    """

    def __init__(
        self,
        spec: ModelSpec,
        backend: Backend,
        *,
        asked_as: str | None = None,
        after_import: Callable[[bool], None] | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.spec = spec
        self.asked_as = asked_as or spec.name
        self.model: Any = None
        self.error: str | None = None
        self.load_time: float | None = None
        self.counts = counts if counts is not None else Counts()
        self.hits = self.counts.gets
        self.signature: str | None = None
        self.pristine: tuple[tuple[str, str], ...] = ()
        self.handed_out = False
        self.encoding = threading.RLock()
        self._backend = backend
        self._after_import = after_import
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._in_load = False

    @property
    def is_loaded(self) -> bool:
        """Whether the model is ready."""
        return self.model is not None

    @property
    def is_loading(self) -> bool:
        """Whether somebody is loading it now."""
        return self._flight is not None

    def get(self) -> Any:
        """Return the model; load it, or wait for whoever does.

        A failed attempt raises its error in everyone who waited for it, and is not remembered:
        the next call tries again.
        """
        while self.model is None:
            mine = _Flight()
            try:
                # Who is called by a load has the turn: nobody else can be loading, and a flight
                # under way waits for this thread.
                flight = mine if turn.is_mine else self._board(mine)
                if flight is mine:
                    self._load_in_turn()
                    break
            except BaseException as error:
                mine.error = error
                raise
            finally:
                self._land(mine)
            flight.done.wait()
            if isinstance(flight.error, Exception):
                raise flight.error
            # Without an error the model is there. Where the loading thread was interrupted, which
            # is no error of ours, take over.
        return self.model

    def _board(self, mine: _Flight) -> _Flight:
        with self._lock:
            if self._flight is None:
                self._flight = mine
            return self._flight

    def _land(self, mine: _Flight) -> None:
        with self._lock:
            if self._flight is mine:
                self._flight = None
        mine.done.set()

    def _load_in_turn(self) -> None:
        if self.is_loaded:  # the second check: a flight landed since the first
            return
        with turn:
            if self.model is not None:  # the third: who had the turn before needed it as well
                return
            if self._in_load:
                raise RuntimeError(f"loading model {self.asked_as!r} asks for itself")
            self._in_load = True
            try:
                self.model = self._load()
                self.error = None
            except Exception as error:
                self.error = f"{type(error).__name__}: {error}"
                self.counts.failures += 1
                raise
            finally:
                self._in_load = False

    def _load(self) -> Any:
        _log.info(
            "Loading SentenceTransformer model (one-time initialization): %s on %s",
            self.asked_as,
            self.spec.device,
        )
        with collector_paused():
            start = time.perf_counter()
            fresh = self._backend.import_libraries()
            imported = time.perf_counter()
            if self._after_import is not None:
                self._after_import(fresh)
            before = self._backend.signature(self.spec)
            begun = time.perf_counter()
            model = self._backend.load(self.spec)
            self.load_time = time.perf_counter() - begun
            self.signature = before if self._backend.signature(self.spec) == before else None
            state = self._backend.state(model)
            self.pristine = tuple(item for item in state if item[0] != OF_THE_CALLER)
        self.counts.loads += 1
        self.counts.load_seconds += self.load_time
        if fresh:
            self.counts.import_seconds += imported - start
        _log.info("✅ SentenceTransformer model '%s' loaded and cached", self.asked_as)
        return model

    def state(self) -> tuple[tuple[str, str], ...]:
        """What differs from the loaded model as it was; empty as long as nobody changed it.

        As the calling thread sees it: in its block of autocast a model is another.
        """
        now = self._backend.state(self.model)
        return () if now == self.pristine else now

    def after_fork(self) -> None:
        """In a forked child: the threads that were loading or encoding do not exist here."""
        self._lock = threading.Lock()
        self.encoding = threading.RLock()
        self._flight = None
        self._in_load = self._in_load and turn.is_mine
