"""What a semantic index is asked: by meaning, by word, by both, and what is like an entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_embedcache.search.semantic.asking import QueryModel
from pytest_embedcache.search.semantic.build import Build
from pytest_embedcache.search.semantic.entry import Entry
from pytest_embedcache.search.semantic.opened import Opened
from pytest_embedcache.search.semantic.results import Results

__all__ = ["Finding", "text_of"]


class Finding:
    """The searches of a `SemanticIndex`."""

    if TYPE_CHECKING:
        _model: QueryModel
        _opened: Opened

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,
        wait: bool = True,
    ) -> Results:
        """The `k` entries nearest to the query's meaning, the nearest first.

        Without `wait` nobody waits for the model: while it is being loaded, and where there is
        none, the results are those of the keywords, and `notice` says so.

        Args:
            query: A text, in the role of a query.
            k: How many at most.
            filter: Names of metadata with the values that they have to have.
            wait: Whether to wait for a model that is not loaded.
        """
        return self._search(query, k, filter, "vectors", wait=wait)

    def hybrid_search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,
        wait: bool = True,
    ) -> Results:
        """As `search`, by meaning and by keyword together: reciprocal rank fusion of the two."""
        return self._search(query, k, filter, "both", wait=wait)

    def keyword_search(
        self, query: str, k: int = 10, *, filter: Mapping[str, Any] | None = None
    ) -> Results:
        """The entries with any of the query's words, ranked by BM25; needs no model."""
        text_of(query)
        return self._opened.answer(lambda b: b.keyword_results(query, k, filter, None))

    def search_as_ready(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,
        hybrid: bool = False,
        patience: float = 0.0,
    ) -> Iterator[Results]:
        """First what the keywords find, with the notice that the model is being loaded; then what
        `search` finds, or `hybrid_search`. Only the latter, if it is ready in `patience` seconds.
        """
        by = "both" if hybrid else "vectors"
        without = self._opened.answer(self._without)
        if without is None and not self._model.is_ready(text_of(query)):
            asking = self._model.query_beside(query)
            if asking.wait(patience) is None:
                loading = self._model.loading()
                first = self._opened.answer(lambda b: b.keyword_results(query, k, filter, loading))
                yield replace(first, final=False)
                asking.wait()
        yield self._search(query, k, filter, by, wait=True)

    def find_similar(
        self, id: str, k: int = 10, *, filter: Mapping[str, Any] | None = None
    ) -> Results:
        """The `k` entries nearest to the entry `id`, without itself; needs no model.

        Raises:
            EntryError: There is no such entry.
        """
        return self._opened.answer(lambda build: build.similar_results(id, k, filter))

    def get(self, id: str) -> Entry | None:
        """The entry `id`; None where there is none."""
        row = self._opened.answer(lambda build: build.entries.by_id([id])).get(id)
        return None if row is None else Entry(row.id, row.text, row.metadata)

    def _without(self, build: Build) -> str | None:
        """The notice where there are no vectors to compare a query with; None where there are."""
        if self._model.model is None:
            return self._model.none()
        if build.entries.about("identity") is None:
            return build.lacking_notice() or "the index is empty"
        return build.other_model(self._model)

    def _search(
        self, query: str, k: int, wanted: Mapping[str, Any] | None, by: str, *, wait: bool
    ) -> Results:
        notice, vector = self._opened.answer(self._without), None
        if notice is None:
            asked = self._model.query(text_of(query), wait=wait)
            notice, vector = asked.notice, asked.vector
        text_of(query)
        if vector is None:
            return self._opened.answer(lambda b: b.keyword_results(query, k, wanted, notice))

        def answer(build: Build) -> Results:
            # Another model's build may have been published while the query was encoded.
            other = self._without(build)
            if other is not None:
                return build.keyword_results(query, k, wanted, other)
            return build.vector_results(query, vector, k, wanted, by)

        return self._opened.answer(answer)


def text_of(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is a string, not {type(value).__name__}")
    return value
