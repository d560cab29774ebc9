"""Query and document: which prompt each takes, by the rules of the installed sentence-transformers.

From version 5 on every model has the prompts `query` and `document`, empty where its files give
none; before, it has those of its files alone. Where none is installed, the newest counts: vectors
are then read that another machine stored.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pytest_embedcache.installed import importable_version

__all__ = ["ROLES", "prompt_name_of", "prompts_as_loaded"]

#: Role -> the names under which a model may have its prompt; the first that is there counts.
ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}


def prompts_as_loaded(saved: Mapping[str, str]) -> dict[str, str]:
    """What a model whose files give the prompts `saved` has as its `prompts` when it is loaded."""
    return {**dict.fromkeys(_given_to_all(), ""), **saved}


def prompt_name_of(role: str, prompts: Mapping[str, str]) -> str | None:
    """The name of the prompt that a call in `role` takes; None where the model has none for it."""
    return next((name for name in ROLES[role] if name in prompts), None)


@functools.cache
def _given_to_all() -> tuple[str, ...]:
    version = importable_version("sentence-transformers")
    has_roles = version is None or int(version.partition(".")[0]) >= 5
    return ("query", "document") if has_roles else ()
