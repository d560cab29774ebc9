"""`sentence_transformers` where it is not installed, for suites that only ever use the fake."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any

from pytest_embedcache.errors import MissingExtraError

__all__ = ["provide_missing"]

NAME = "sentence_transformers"


def provide_missing() -> bool:
    """Put a stub into `sys.modules` if the package is not installed; True if it did.

    The stub has `SentenceTransformer`, which raises `MissingExtraError` unless a test uses
    `fake_sentence_transformer`.
    """
    if NAME in sys.modules or importlib.util.find_spec(NAME) is not None:
        return False

    class SentenceTransformer:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise MissingExtraError(
                "SentenceTransformer outside of fake_sentence_transformer",
                NAME,
                "sentence-transformers",
            )

    SentenceTransformer.__module__ = NAME
    module = ModuleType(
        NAME, "A stub (embedcache_stub_missing): sentence-transformers is not installed."
    )
    module.__spec__ = importlib.machinery.ModuleSpec(NAME, None)
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    sys.modules[NAME] = module
    return True
