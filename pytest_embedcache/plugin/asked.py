"""What a fixture, a marker or a test asks for, with the settings for what it leaves open."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_embedcache.models.strategies import Strategy, strategy_named
from pytest_embedcache.plugin.table import Mode

if TYPE_CHECKING:
    from pytest_embedcache.plugin.settings import Settings
    from pytest_embedcache.spec import ModelSpec

__all__ = ["Asked", "Wanted", "read"]

#: A name, or some of `ModelSpec`'s fields with the name as `model`; None is the run's own model.
Asked = str | os.PathLike[str] | Mapping[str, Any] | Iterable[tuple[str, Any]] | None


class Wanted(NamedTuple):
    """A model, where its vectors come from, and when it is loaded; `named` is its backend."""

    spec: ModelSpec
    mode: Mode
    strategy: Strategy
    named: bool


def read(settings: Settings, asked: Asked) -> Wanted:
    """What was asked for.

    Raises `EmbedCacheError` for a value that cannot be used.
    """
    from pytest_embedcache.spec import ModelSpec

    options: dict[str, Any] = {
        "model": settings.model,
        "device": settings.device,
        "mode": settings.mode,
        "strategy": settings.strategy,
    }
    options |= {"model": asked} if isinstance(asked, (str, os.PathLike)) else dict(asked or {})
    if options["device"] == "auto":  # as in the settings
        options["device"] = None
    mode, strategy = _mode(options.pop("mode")), strategy_named(options.pop("strategy"))
    backend, form = options.get("backend"), options.get("form")
    named = backend is not None
    options["backend"], options["form"] = strategy.kind(backend, form, chosen=not named)
    return Wanted(ModelSpec(options.pop("model"), **options), mode, strategy, named)


def _mode(value: object) -> Mode:
    for mode in Mode:
        if mode == value:
            return mode
    from pytest_embedcache.errors import SettingsError

    raise SettingsError("mode", value, "the call", f"use {' or '.join(Mode)}")
