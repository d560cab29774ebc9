"""One model of the service: opened when it is first asked for, one lane for each kind of call."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_embedcache.models.backends.openai import UNSET
from pytest_embedcache.models.remote import bare_url
from pytest_embedcache.models.strategies import default_strategy
from pytest_embedcache.service.lanes import Lane
from pytest_embedcache.service.threads import AT_ONCE
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.apart import TextsApart, Tokens
from pytest_embedcache.vectors.api import by_strategy, cached_model

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.models.handle import ModelHandle
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.service.model_table import ModelRow
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["Served", "open_model"]

#: Texts that go to a local model together: what comes meanwhile is not held up for long, and
#: texts of one length still find each other.
_TOGETHER = 256


def open_model(
    row: ModelRow, registry: ModelRegistry, cache: VectorCache, key: str | None
) -> CachedModel:
    """The model of a row, not loaded yet. `key` is for the API that the environment names.

    Raises as `get_model` does.
    """
    if row.is_api:
        if row.key_variable is not None:
            # Looked for again when the model is loaded: what is stored needs no key.
            key = os.environ.get(row.key_variable) or f"{UNSET}{row.key_variable}"
        elif row.base_url is not None:
            key = None  # not for others
        spec = ModelSpec(
            row.model,
            backend=str(row.backend),
            revision=row.revision,
            token=key,
            path=None if row.base_url is None else bare_url(row.base_url),
        )
        return cached_model(registry, cache, spec)
    strategy = default_strategy(row.model)
    backend, form = strategy.kind(row.backend, None, chosen=False)
    spec = ModelSpec(
        row.model, backend=backend, form=form, revision=row.revision, device=row.device
    )
    return by_strategy(registry, cache, spec, strategy, named=row.backend is not None)


class Served:
    """A model that is open.

    Args:
        row: Its row in the table.
        model: The model.
        idle_timeout: Seconds without use after which it is unloaded, -1 for never.
        start: Runs a function in another thread.
        max_wait: Seconds that a text waits for others.
        report: Called with the row, the role, the texts that went to the model with their tokens,
            and the seconds that it took.
    """

    def __init__(
        self,
        row: ModelRow,
        model: CachedModel,
        *,
        idle_timeout: float,
        start: Callable[[Callable[[], None]], object],
        max_wait: float,
        report: Callable[[ModelRow, str, Tokens, float], object],
    ) -> None:
        self.row = row
        self.model = model
        self._idle_timeout = idle_timeout
        self._start = start
        self._max_wait = max_wait
        self._report = report
        # Of a local model its files say it; what an API answers is held to the row.
        dimension = row.dimension if row.is_api else None
        self._roles = {
            role: TextsApart(model, role, dimension=dimension) for role in ("query", "document")
        }
        self._lock = threading.Lock()
        self._lanes: dict[tuple[str, int, bool], Lane] = {}

    @property
    def queued(self) -> int:
        """Texts that wait to be encoded."""
        return sum(lane.queued for lane in list(self._lanes.values()))

    def texts(self, role: str) -> TextsApart:
        """Its vectors in a role."""
        return self._roles[role]

    def lane(self, role: str, size: int, use_store: bool) -> Lane:
        """Where its texts wait; those of another role or batch size wait elsewhere."""
        with self._lock:
            lane = self._lanes.get((role, size, use_store))
            if lane is None:
                api = self.row.is_api
                lane = self._lanes[role, size, use_store] = Lane(
                    functools.partial(self._encode, role, size, use_store),
                    self._start,
                    most=size if api else max(size, _TOGETHER),
                    at_once=AT_ONCE if api else 1,
                    max_wait=self._max_wait,
                    report=functools.partial(self._report, self.row, role),
                )
            return lane

    def _encode(
        self, role: str, size: int, use_store: bool, texts: list[str], sent: Tokens
    ) -> np.ndarray:
        found = self._roles[role].computed(texts, sent, size=size, use_store=use_store)
        self._set_timeout(self._roles[role].handle())
        return found

    def _set_timeout(self, handle: ModelHandle | None) -> None:
        # Looked at each time: a model that was evicted has another handle by now.
        if handle is not None and handle.idle_timeout != self._idle_timeout:
            handle.idle_timeout = self._idle_timeout
            with handle.held():  # at its end the time begins
                pass
