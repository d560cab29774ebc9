"""One model's life: unloaded, loading, ready, or failed."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import LoadTimeoutError
from pytest_embedcache.models import background, defaults
from pytest_embedcache.models.flight import Flight, seconds_left
from pytest_embedcache.models.freed import give_back
from pytest_embedcache.models.idle import AT_ONCE, NEVER, IdleUnloader, idle
from pytest_embedcache.models.inflight import InFlight, one_by_one
from pytest_embedcache.models.near import Near
from pytest_embedcache.models.stats import Counts, Status
from pytest_embedcache.models.turn import turn
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.models.artifacts import ArtifactStore
    from pytest_embedcache.models.backends import Backend
    from pytest_embedcache.models.metadata import ModelMetadata

__all__ = ["Counts", "ModelHandle", "Status"]


class ModelHandle(Near):
    """Holds the model of one resolved spec, and loads it once however many ask.

    Args:
        spec: The resolved spec.
        backend: Builds the model.
        artifacts: The machine's prepared models; None is the default store.
        asked_as: The name under which it was first asked for; for people.
        after_import: Called with whether the libraries were imported just now, before building.
        counts: Where to count; shared with the registry.
        idle: Seconds without use after which the model is unloaded (0 is at the end of each use,
            -1 never), and who keeps that time.

    Attributes:
        model: The model, None unless it is ready. Reading it is the whole of a hit; who encodes
            with it uses `using`, and who may change it `hand_out`.
        error: What the last attempt failed with, as text (an exception keeps frames), or None.
        load_time: Seconds of the last load, None before.
        signature: Of the files that were loaded, None where they changed meanwhile.
        pristine: The model's state right after it was loaded.
        handed_out: Somebody got it to change it, and so it is never unloaded.
        lent: Somebody got it bare from the registry, and may have changed it as well.
        encoding: Held around a call of the model: its tokenizer is not safe in threads. Of a
            backend that `is_concurrent`, held by nobody.
        pinned: It stays, however long unused.
    """

    def __init__(
        self,
        spec: ModelSpec,
        backend: Backend,
        *,
        artifacts: ArtifactStore | None = None,
        asked_as: str | None = None,
        after_import: Callable[[bool], None] | None = None,
        counts: Counts | None = None,
        idle: tuple[float, IdleUnloader] = (NEVER, idle),
    ) -> None:
        self.spec = spec
        self._backend = backend
        self.asked_as = asked_as or spec.name
        self.model: Any = None
        self.error: str | None = None
        self.load_time: float | None = None
        self.counts = counts if counts is not None else Counts()
        self.hits = self.counts.gets
        self.signature: str | None = None
        self.pristine: tuple[tuple[str, str], ...] = ()
        self.handed_out = False
        self.encoding = one_by_one(self._backend)
        self.lent = False
        self.idle_timeout, self._unloader = idle
        self.pinned = False
        self._artifacts = artifacts
        self._after_import = after_import
        self._lock = threading.Lock()
        self._flight: Flight | None = None
        self._in_load = False
        self._in_flight = InFlight()
        #: The model that was unloaded, should somebody still have it.
        self._unloaded: Callable[[], Any] = lambda: None

    @property
    def status(self) -> Status:
        """Whether it is unloaded, loading, ready or failed."""
        if self.is_loaded:
            return Status.READY
        if self.is_loading:
            return Status.LOADING
        return Status.UNLOADED if self.error is None else Status.FAILED

    @property
    def is_loaded(self) -> bool:
        """Whether the model is ready."""
        return self.model is not None

    @property
    def is_loading(self) -> bool:
        """Whether somebody is loading it now."""
        return self._flight is not None

    @property
    def may_be_changed(self) -> bool:
        """Whether its vectors may no longer be those of its files."""
        return self.handed_out or self.lent

    @property
    def metadata(self) -> ModelMetadata:
        """What the model's configuration says of it; loads nothing."""
        from pytest_embedcache.models.backends import describe  # which imports this module

        return describe(self._backend, self.spec, self._artifacts)

    @property
    def dimension(self) -> int | None:
        """Columns of its vectors, before `truncate_dim`; loads nothing."""
        return self.metadata.dimension

    def get(self, timeout: float | None = 60.0) -> Any:
        """Return the model; load it, or wait for whoever does.

        A failed attempt raises its error in everyone who waited for it, and is not remembered:
        the next call tries again. `timeout` is how many seconds to wait for others: for the thread
        that loads it, or for another model's load; None for as long as it takes. Where this call
        itself loads, the load takes as long as it takes.

        Raises `LoadTimeoutError` where the wait was over before the load.
        """
        self._may_be_loaded()
        until = None if timeout is None else time.monotonic() + timeout
        while (model := self.model) is None:
            mine = Flight(background=background.is_here())
            try:
                # Who is called by a load has the turn: nobody else can be loading, and a flight
                # under way waits for this thread.
                flight = mine if turn.is_mine else self._board(mine)
                if flight is mine:
                    return self._load_in_turn(mine, until)
            except BaseException as error:
                mine.error = error
                raise
            finally:
                self._land(mine)
            flight.wait(self.asked_as, until)
            # The model is there, or was; or the loader was interrupted: then take over.
        return model

    def start_loading(self) -> None:
        """Load in a thread beside this one; returns at once, nothing is done twice.

        What goes wrong is logged, and is in `error`.
        """
        self._may_be_loaded()
        mine = Flight(background=True)
        if self.is_loaded or self._board(mine) is not mine:
            return
        try:
            background.start(lambda: self._load_quietly(mine), f"load {self.asked_as}")
        except BaseException as error:
            mine.error = error
            self._land(mine)
            raise

    def unload(self, timeout: float = 0.0) -> bool:
        """Let the model go, and its memory with it; the next use loads it again.

        Waits `timeout` seconds at most for those who use it. False where that was not enough, where
        there is no model, or where it was changed: what comes from the files would be another one.
        Whoever has it bare keeps it, and it is that very object which the next use finds.
        """
        with self._in_flight.empty(timeout) as is_empty:
            model = self.model
            if model is None or not is_empty or self.handed_out:
                return False
            if self._backend.state(model) != self.pristine:
                return False
            with contextlib.suppress(TypeError):  # an object that nobody can refer to weakly
                self._unloaded = weakref.ref(model)
            self.model = None
            self.counts.unloads += 1
        del model
        give_back(self.spec.device)
        return True

    @contextmanager
    def held(self, *, here: bool = True) -> Iterator[Any]:
        """The model, loaded, and not unloaded inside; its time without use begins at the end."""
        try:
            with self._in_flight.entered():
                yield self.get(timeout=None)
        finally:
            if self.idle_timeout >= AT_ONCE and self._in_flight.is_empty:
                self._unloader.used(self)

    @contextmanager
    def using(self, *, here: bool = True) -> Iterator[Any]:
        """As `held`, and for one thread at a time."""
        # Loaded first: a load may need a model that others are using.
        with self.held() as model, self.encoding:
            yield model

    def hand_out(self) -> Any:
        """The model, for somebody who may change it: it is never unloaded from here on."""
        with self.held() as model:
            self.handed_out = True
            return model

    def state(self) -> tuple[tuple[str, str], ...]:
        """What differs from the loaded model as it was; empty as long as nobody changed it.

        As the calling thread sees it: in its block of autocast a model is another.
        """
        if (model := self.model) is None:  # what was changed is not unloaded
            return ()
        now = self._backend.state(model)
        return () if now == self.pristine else now

    def after_fork(self) -> None:
        """In a forked child: the threads that were loading or encoding do not exist here."""
        self._lock = threading.Lock()
        self.encoding = one_by_one(self._backend)
        self._flight = None
        self._in_load = self._in_load and turn.is_mine
        self._in_flight = InFlight()

    def _may_be_loaded(self) -> None:
        if defaults.refuse is not None:
            defaults.refuse(self.spec)

    def _board(self, mine: Flight) -> Flight:
        with self._lock:
            if self._flight is None:
                self._flight = mine
            return self._flight

    def _land(self, mine: Flight) -> None:
        with self._lock:
            if self._flight is mine:
                self._flight = None
        mine.done.set()

    def _load_quietly(self, mine: Flight) -> None:
        mine.thread = threading.current_thread().name
        try:
            self._load_in_turn(mine, None)
        except Exception as error:
            mine.error = error
            background.say_failed(self.asked_as, error)
        finally:  # where it is interrupted, whoever waits takes over
            self._land(mine)

    def _load_in_turn(self, flight: Flight, until: float | None) -> Any:
        if (model := self.model) is not None:  # the second check: one landed since the first
            return model
        if not turn.acquire(seconds_left(until)):
            raise LoadTimeoutError(self.asked_as, flight.waited, flight.doing)
        try:
            if (model := self.model) is not None:  # the third: who had the turn needed it as well
                return model
            if self._in_load:
                raise RuntimeError(f"loading model {self.asked_as!r} asks for itself")
            self._in_load = True
            try:
                model = self._unloaded() or self._load(flight)
                self.model = model
                self.error = None
            except Exception as error:
                self.error = f"{type(error).__name__}: {error}"
                self.counts.failures += 1
                raise
            finally:
                self._in_load = False
        finally:
            turn.release()
        if self.idle_timeout > AT_ONCE:
            self._unloader.used(self)
        return model

    def _load(self, flight: Flight) -> Any:
        from pytest_embedcache.models.building import build  # a hit has no use for it

        turn.model = self.asked_as
        given = (self.asked_as, self._after_import, self.counts, flight)
        loaded = build(self.spec, self._backend, *given)
        self.load_time = loaded.seconds
        self.signature = loaded.signature
        self.pristine = loaded.pristine
        self.lent = False  # whoever had one had another one
        return loaded.model
