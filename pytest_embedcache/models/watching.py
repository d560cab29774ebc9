"""Who is told of every load and every computing, as long as somebody wants to know."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from pytest_embedcache.models import defaults
from pytest_embedcache.spec import ModelSpec

__all__ = ["Watch", "watched"]


class Watch(Protocol):
    """Set as `defaults.watch`. Called by the thread that did it, right after it was done."""

    def loaded(
        self, spec: ModelSpec, seconds: float, *, import_seconds: float, failed: bool
    ) -> None:
        """A model was loaded, or could not be, in `seconds` of which so many were imports."""

    def computed(self, model: str, texts: Sequence[str], seconds: float) -> None:
        """The model of this name was given `texts`, in one call that took `seconds`."""


@contextmanager
def watched(model: str, texts: Sequence[str] | None) -> Iterator[None]:
    """Inside, `texts` are computed past the store; None is of something else than texts."""
    if defaults.watch is None or texts is None:
        yield
        return
    start = time.perf_counter()
    yield
    defaults.watch.computed(model, texts, time.perf_counter() - start)
