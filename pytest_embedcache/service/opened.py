"""The models of the service that somebody has asked for."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.registry import ModelRegistry
from pytest_embedcache.service.served import Served, open_model

if TYPE_CHECKING:
    from pytest_embedcache.models.stats import Counts
    from pytest_embedcache.service.model_table import ModelRow
    from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["OpenModels"]

Then = Callable[[Served], object]
Fail = Callable[[BaseException], object]


class OpenModels:
    """Opens each model once; one that cannot be had is tried again by the next who asks.

    Args:
        rows: By name.
        cache: Keeps their vectors.
        registry: Loads local models, and those of an API without a key of the service's own.
        key: That key, for the API that the environment names.
        serving: The keyword arguments of the `Served` of a row.
    """

    def __init__(
        self,
        rows: Mapping[str, ModelRow],
        cache: VectorCache,
        registry: ModelRegistry,
        key: str | None,
        serving: Callable[[ModelRow], Mapping[str, Any]],
    ) -> None:
        self._rows = rows
        self._cache = cache
        self._registry = registry
        # A registry does not tell models by their keys: with a key of its own it is another one.
        self._keyed = registry if key is None else ModelRegistry()
        self._key = key
        #: Of rows that name the variable of their key.
        self._by_variable: dict[str, ModelRegistry] = {}
        self._serving = serving
        self.renew()

    def renew(self) -> None:
        """In a forked child: whatever waits there waits for threads that do not exist."""
        self._lock = threading.Lock()
        self._opening: dict[str, list[tuple[Then, Fail]]] = {}
        self._served: dict[str, Served] = {}

    def get(self, name: str) -> Served | None:
        """The model, if it is open; nothing is waited for."""
        return self._served.get(name)

    def when_open(
        self, row: ModelRow, start: Callable[[Callable[[], None]], object], then: Then, fail: Fail
    ) -> None:
        """Call `then` with the model of a row, or `fail` with why there is none.

        Opening it may take as long as fetching its files: that is done in one thread of `start`,
        however many wait for it, and so no model holds up another one.
        """
        with self._lock:
            waiting = self._opening.get(row.name)
            if waiting is not None:
                waiting.append((then, fail))
                return
            served = self._served.get(row.name)
            if served is None:
                self._opening[row.name] = [(then, fail)]
        if served is not None:
            then(served)
            return
        try:
            start(functools.partial(self._open, row))
        except BaseException as error:  # no thread to be had: the next who asks tries again
            self._tell(row, None, error)

    def _open(self, row: ModelRow) -> None:
        error: BaseException | None = None
        served: Served | None = None
        try:
            registry = self._registry_of(row)
            model = open_model(row, registry, self._cache, self._key)
            served = Served(row, model, **self._serving(row))
        except BaseException as why:
            error = why
        self._tell(row, served, error)

    def _tell(self, row: ModelRow, served: Served | None, error: BaseException | None) -> None:
        """Everybody who waits for it, whatever goes wrong with one of them."""
        with self._lock:
            if served is not None:
                self._served[row.name] = served
            waiting = self._opening.pop(row.name, [])
        for then, fail in waiting:
            try:
                if served is not None:
                    then(served)
                elif error is not None:
                    fail(error)
            except BaseException as why:
                fail(why)

    def _registry_of(self, row: ModelRow) -> ModelRegistry:
        if not row.is_api:
            return self._registry
        if row.key_variable is None:
            return self._keyed
        with self._lock:
            return self._by_variable.setdefault(row.key_variable, ModelRegistry())

    def all(self) -> list[Served]:
        """Those that are open."""
        return list(self._served.values())

    @property
    def queued(self) -> int:
        """Texts that wait to be encoded."""
        return sum(served.queued for served in self.all())

    def loaded(self) -> list[str]:
        """The names of those that are in memory."""
        return sorted(served.row.name for served in self.all() if served.model.is_loaded)

    def counts(self) -> dict[str, Counts]:
        """What happened to them in this process, by their names in the table."""
        found = {
            served.row.name: self._registry_of(served.row).counts(served.model.spec)
            for served in self.all()
        }
        return {name: one for name, one in found.items() if one is not None}
