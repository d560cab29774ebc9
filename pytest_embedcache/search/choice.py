"""Which backend answers, from what was asked for, the size and the memory; and why."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import NamedTuple

from pytest_embedcache.errors import SettingsError
from pytest_embedcache.models.limits import free_memory
from pytest_embedcache.search.backend import BACKENDS

__all__ = ["Choice", "choose", "requested"]

#: More vectors than this are searched approximately where nobody says.
MANY = 1_000_000
_VARIABLE = "EMBEDCACHE_VECTOR_BACKEND"


class Choice(NamedTuple):
    """A backend's name, and why that one, in a sentence."""

    backend: str
    reason: str


def requested(vector_backend: str | None) -> str:
    """The setting: as given, else `EMBEDCACHE_VECTOR_BACKEND`, else `auto`; `SettingsError`."""
    chosen = vector_backend or os.environ.get(_VARIABLE) or "auto"
    if chosen not in ("auto", *BACKENDS):
        source = "the call" if vector_backend else _VARIABLE
        remedy = f"give one of: auto, {', '.join(BACKENDS)}"
        raise SettingsError("vector_backend", chosen, source, remedy)
    return chosen


def choose(asked: str, vectors: int, dimension: int, memory: int | None = None) -> Choice:
    """The backend for so many vectors; `memory` is what is free, in bytes."""
    if asked != "auto":
        return Choice(asked, "it was asked for")
    size = vectors * dimension * 4
    memory = free_memory() if memory is None else memory
    if vectors > MANY and find_spec("usearch") is not None:
        return Choice("approximate", f"there are {vectors:,} vectors, more than {MANY:,}")
    if memory is None or size <= memory // 2:
        free = "" if memory is None else f" of the {memory >> 20:,} MiB that are free"
        return Choice("exact", f"its {size >> 20:,} MiB fit into memory{free}")
    return Choice(
        "sqlite-vec", f"its {size >> 20:,} MiB are more than half of the {memory >> 20:,} MiB free"
    )
