"""Where candidates come from: all rows, some of them, or a backend's structure."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pytest_embedcache.search.backend import VectorBackend
from pytest_embedcache.search.lifting import lift_query
from pytest_embedcache.search.ranking import at_least, margin
from pytest_embedcache.search.view import View

__all__ = ["Scan", "Source", "Structured"]


class Source(Protocol):
    """Candidates for one query."""

    #: As many as there can be.
    total: int

    def candidates(self, count: int) -> np.ndarray:
        """Rows among which are the `count` nearest, and all that may be as near as the last."""
        ...


class Scan:
    """All rows that are an id's, or `rows` of them: one product."""

    def __init__(
        self, view: View, query: np.ndarray, norm: float, rows: np.ndarray | None = None
    ) -> None:
        unit = (query / norm).astype(np.float32)
        self._rows: np.ndarray | None = None
        if rows is not None and len(rows) * 4 < len(view.matrix):
            self._rows = rows
            self._scores = view.matrix[rows] @ unit
            if view.manifest.metric == "cosine":
                self._scores *= view.inverse[rows]
        else:
            self._scores = view.matrix @ unit
            if view.manifest.metric == "cosine":
                self._scores *= view.inverse
            if rows is not None:
                kept = np.zeros(len(self._scores), bool)
                kept[rows] = True
                self._scores[~kept] = -np.inf
            elif len(view.dead):
                self._scores[view.dead] = -np.inf
        self.total = len(view.rows) if rows is None else len(rows)
        scale = 1.0 if view.manifest.metric == "cosine" else view.longest
        self._slack = margin(view.manifest.dimension) * scale

    def candidates(self, count: int) -> np.ndarray:
        found = at_least(self._scores, count, self._slack)
        return found if self._rows is None else self._rows[found]


class Structured:
    """A backend's structure, and a product with the rows that it does not cover.

    Where the structure cannot say, because more is asked for than it returns or nearly everything
    is, all rows are scanned.
    """

    def __init__(self, view: View, backend: VectorBackend, query: np.ndarray, norm: float) -> None:
        self._view = view
        self._backend = backend
        self._query = query
        self._norm = norm
        self._lifted = lift_query(query, norm)
        self._slack = 2 * backend.error
        self._scan: Scan | None = None
        self.total = len(view.rows)

    def candidates(self, count: int) -> np.ndarray:
        covered = min(self._backend.covered, len(self._view.matrix))
        # What was removed is still in the structure, and may be nearest.
        asked = count + 16 + min(len(self._view.dead), count)
        while self._scan is None:
            # A graph that is asked for most of what it holds takes longer than a scan.
            most = covered if self._backend.is_exact else covered // 2
            if asked > min(self._backend.limit, most):
                self._scan = Scan(self._view, self._query, self._norm)
                break
            rows, cosines = self._backend.nearest(self._lifted, asked)
            everything = len(rows) < asked
            here = rows < covered
            here[here] = self._view.alive[rows[here]]
            if everything or self._is_enough(cosines, here, count):
                return np.concatenate([rows[here], self._uncovered(covered, count)])
            asked *= 4
        return self._scan.candidates(count)

    def _is_enough(self, cosines: np.ndarray, here: np.ndarray, count: int) -> bool:
        if int(here.sum()) < count:
            return False
        # Else there may be more that are as near as the last.
        return bool(cosines[here][count - 1] - self._slack > cosines[-1])

    def _uncovered(self, covered: int, count: int) -> np.ndarray:
        if covered == len(self._view.matrix):
            return np.empty(0, np.int64)
        rest = self._view.rows[self._view.rows >= covered]
        return Scan(self._view, self._query, self._norm, rest).candidates(count)
