"""`sentence_transformers` where it is not installed, for suites that only ever use the fake."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any

from pytest_embedcache.errors import MissingExtraError

__all__ = ["Stub", "provide_missing"]

NAME = "sentence_transformers"


class Stub(ModuleType):
    """Has `SentenceTransformer`, which raises `MissingExtraError` outside of the fake."""

    def __init__(self) -> None:
        super().__init__(
            NAME, "A stub (embedcache_stub_missing): sentence-transformers is not installed."
        )
        self.__spec__ = importlib.machinery.ModuleSpec(NAME, None)

        class SentenceTransformer:
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                raise MissingExtraError(
                    "SentenceTransformer outside of fake_sentence_transformer",
                    NAME,
                    "sentence-transformers",
                )

        SentenceTransformer.__module__ = NAME
        SentenceTransformer.__qualname__ = "SentenceTransformer"
        self.SentenceTransformer = SentenceTransformer

    def remove(self) -> None:
        """Let the name be what it was: not there."""
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]


def provide_missing() -> Stub | None:
    """Put a stub into `sys.modules` and return it; None where the package is there already."""
    if NAME in sys.modules or importlib.util.find_spec(NAME) is not None:
        return None
    stub = sys.modules[NAME] = Stub()
    return stub
