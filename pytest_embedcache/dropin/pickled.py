"""A pickle of a stand-in: which model it is, not the model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_embedcache.dropin.state import State

__all__ = ["again", "pickled"]


def pickled(state: State) -> tuple[Any, ...]:
    """The arguments of `again`; a token is not among them, and a directory's path is absolute."""
    kwargs = dict(state.kwargs)
    name = state.args[0] if state.args else kwargs["model_name_or_path"]
    name = os.path.abspath(name) if os.path.isdir(name) else name
    kwargs.pop("model_name_or_path", None)
    kwargs.pop("token", None)
    return name, kwargs, state.view().changes


def again(name: str, kwargs: dict[str, Any], changes: dict[str, Any]) -> Any:
    """The model of that name, as it is where the pickle is read: with or without a drop-in."""
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(name, **kwargs)
    for label, value in changes.items():
        if getattr(model, label) != value:
            setattr(model, label, value)
    return model
