"""The model of a semantic index: which one it is, and vectors from it, if it can be had."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import (
    ExportError,
    FetchError,
    LockTimeoutError,
    MissingExtraError,
    ModelLoadError,
    ModelNotFoundError,
    SnapshotError,
)
from pytest_embedcache.models import background
from pytest_embedcache.vectors.stored import are_stored

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["Asked", "QueryModel"]

#: That a model cannot be had. Anything else, such as a miss in replay, is the caller's to see.
_NOT_TO_BE_HAD = (
    ExportError,
    FetchError,
    LockTimeoutError,
    MissingExtraError,
    ModelLoadError,
    ModelNotFoundError,
    SnapshotError,
)

_KEYWORDS = "only keywords were searched"


class QueryModel:
    """A model in its two roles, or none.

    Args:
        model: The model; None for none.
        why_none: Why there is none, for people.
    """

    def __init__(self, model: CachedModel | None, why_none: str | None = None) -> None:
        self.model = model
        self.why_none = why_none or "none was given"

    @property
    def name(self) -> str | None:
        """Its name, None for no model."""
        return None if self.model is None else self.model.name

    def identity(self) -> str | None:
        """What decides the vectors of documents, as 64 hexadecimal digits.

        The key of an empty text in that role: it covers the weights, the prompt, and what can be
        set on a loaded model. None where there is no model, or nobody can say which it is: it was
        handed out to be changed.
        """
        model = self.model
        if model is None or (model.is_loaded and model.handle.may_be_changed):
            return None
        keys = model.keys([""], role="document")
        return keys[0].hex() if keys else None

    def documents(self, texts: Sequence[str]) -> list[np.ndarray] | None:
        """The vectors of entries, 1-D float32; None, and `why_none`, where there is no model.

        Raises as `encode` does for anything else.
        """
        if self.model is None or not texts:
            return None if self.model is None else []
        try:
            return list(self.model.encode_document(list(texts), show_progress_bar=False))
        except _NOT_TO_BE_HAD as error:
            self.why_none = str(error)
            return None

    def none(self) -> str:
        """The notice where there is no model."""
        return f"there is no model ({self.why_none}): {_KEYWORDS}"

    def is_ready(self, query: str) -> bool:
        """Whether the query's vector needs no load."""
        model = self.model
        return model is not None and (model.is_loaded or are_stored(model, [query], role="query"))

    def query(self, query: str, *, wait: bool) -> Asked:
        """The vector of a query, or why there is none.

        Without `wait` a model that is not in memory is loaded in a thread, and there is no vector
        until it is, unless it is stored.
        """
        model = self.model
        if model is None:
            return Asked(None, self.none())
        try:
            if not wait and not self.is_ready(query):
                failed = model.handle.error
                model.start_loading()
                return Asked(None, self.loading() if failed is None else self.failed(failed))
            return Asked(model.encode_query([query], show_progress_bar=False)[0], None)
        except _NOT_TO_BE_HAD as error:
            self.why_none = str(error)
            return Asked(None, self.none())

    def loading(self) -> str:
        """The notice while the model is loaded."""
        return f"loading the model {self.name} …: {_KEYWORDS} until it is there"

    def failed(self, error: str) -> str:
        """The notice where the model could not be loaded, and is tried again."""
        return f"the model {self.name} could not be loaded ({error}): {_KEYWORDS}"

    def query_beside(self, query: str) -> Asking:
        """The same in a thread, to be waited for."""
        return Asking(self, query)


class Asked:
    """The vector of a query, 1-D float32; or None, and the notice that says why."""

    def __init__(self, vector: np.ndarray | None, notice: str | None) -> None:
        self.vector = vector
        self.notice = notice


class Asking:
    """A query whose vector is being made in a thread."""

    def __init__(self, model: QueryModel, query: str) -> None:
        self._model = model
        self._query = query
        self._done = threading.Event()
        self._found: Any = None
        self._error: BaseException | None = None
        background.start(self._run, "encode a query")

    def wait(self, timeout: float | None = None) -> Asked | None:
        """What came out; None where it takes longer than `timeout` seconds."""
        if not self._done.wait(timeout):
            return None
        if self._error is not None:
            raise self._error
        found: Asked = self._found
        return found

    def _run(self) -> None:
        try:
            self._found = self._model.query(self._query, wait=True)
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()
