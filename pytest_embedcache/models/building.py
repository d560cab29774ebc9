"""One load: the libraries imported, the model built, and what was found out on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_embedcache.models import defaults
from pytest_embedcache.models.collector import collector_paused
from pytest_embedcache.models.flight import Flight
from pytest_embedcache.models.importing import importing, wait_first
from pytest_embedcache.models.stats import OF_THE_CALLER, Counts
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.models.backends import Backend

__all__ = ["Loaded", "build"]

_log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A model right after its load.

    Attributes:
        model: The model.
        seconds: Of building it; importing the libraries is not in it.
        signature: Of the files that were loaded, None where they changed meanwhile.
        pristine: What can be changed on it, as it was.
    """

    model: Any
    seconds: float
    signature: str | None
    pristine: tuple[tuple[str, str], ...]


def build(
    spec: ModelSpec,
    backend: Backend,
    asked_as: str,
    after_import: Callable[[bool], None] | None,
    counts: Counts,
    flight: Flight,
) -> Loaded:
    """Load the model of a resolved spec; the caller has the turn."""
    _log.info(
        "Loading SentenceTransformer model (one-time initialization): %s on %s",
        asked_as,
        spec.device,
    )
    start = imported = time.perf_counter()
    fresh, failed = False, True
    try:
        with collector_paused():
            flight.stage = "importing its libraries"
            with importing():
                fresh = backend.import_libraries()
                if fresh:
                    wait_first()
            imported = time.perf_counter()
            if after_import is not None:
                after_import(fresh)
            flight.stage = "building it"
            before = backend.signature(spec)
            begun = time.perf_counter()
            model = backend.load(spec)
            seconds = time.perf_counter() - begun
            signature = before if backend.signature(spec) == before else None
            state = tuple(item for item in backend.state(model) if item[0] != OF_THE_CALLER)
            loaded = Loaded(model, seconds, signature, state)
        failed = False
    finally:
        if defaults.watch is not None:
            took, imports = time.perf_counter() - start, imported - start if fresh else 0.0
            defaults.watch.loaded(spec, took, import_seconds=imports, failed=failed)
    counts.loads += 1
    counts.load_seconds += seconds
    if fresh:
        counts.import_seconds += imported - start
    _log.info("✅ SentenceTransformer model '%s' loaded and cached", asked_as)
    return loaded
