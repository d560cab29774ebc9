"""A search: candidates, their distances, and what the filter lets through."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection

import numpy as np

from pytest_embedcache import notices
from pytest_embedcache.search.backend import VectorBackend
from pytest_embedcache.search.hits import Hit
from pytest_embedcache.search.ranking import ranked
from pytest_embedcache.search.sources import Scan, Source, Structured
from pytest_embedcache.search.vectors import ids_from
from pytest_embedcache.search.view import View

__all__ = ["Filter", "find_nearest"]

#: The ids that may be found, or what says of one id whether it may.
Filter = Collection[int] | Callable[[int], bool]


def find_nearest(
    view: View,
    backend: VectorBackend | None,
    query: np.ndarray,
    norm: float,
    k: int,
    only: Filter | None,
) -> list[Hit]:
    """The `k` nearest rows of a view to a query of length `norm`, as hits."""
    rows, accepts = None, None
    if callable(only):
        accepts = functools.cache(only)
    elif only is not None:
        rows = view.find(np.unique(ids_from(only)))
        rows = rows[rows >= 0]
    if not k or not len(view.ids if rows is None else rows):
        return []
    if norm == 0:  # equally far from everything
        return _all_alike(view, rows, k, accepts)
    found = None
    if backend is not None and rows is None:
        try:
            found = _take(view, Structured(view, backend, query, norm), query, norm, k, accepts)
        except BlockingIOError:
            pass  # a writer is at its file; the rows are there
        except OSError as error:
            notices.degraded(f"the backend {backend.name} failed ({error}); exact serves")
    if found is None:
        found = _take(view, Scan(view, query, norm, rows), query, norm, k, accepts)
    if backend is not None and backend.saves_memory:
        view.give_back()
    return found


def _take(
    view: View,
    source: Source,
    query: np.ndarray,
    norm: float,
    k: int,
    accepts: Callable[[int], bool] | None,
) -> list[Hit]:
    wanted = k
    while True:
        ids, distances = ranked(view, source.candidates(wanted), query, norm)
        # What comes behind the `wanted` nearest may have others before it that are no candidates.
        pairs = zip(ids[:wanted].tolist(), distances[:wanted].tolist(), strict=True)
        passed = (Hit(*pair) for pair in pairs if accepts is None or accepts(pair[0]))
        hits = list(itertools.islice(passed, k))
        if len(hits) == k or wanted >= source.total:
            return hits
        wanted *= 4


def _all_alike(
    view: View, rows: np.ndarray | None, k: int, accepts: Callable[[int], bool] | None
) -> list[Hit]:
    distance = 1.0 if view.manifest.metric == "cosine" else 0.0
    ids = view.ids if rows is None else np.sort(view.row_ids[rows])
    if accepts is None:
        return [Hit(id, distance) for id in ids[:k].tolist()]
    return [Hit(id, distance) for id in itertools.islice(filter(accepts, ids.tolist()), k)]
