"""`@pytest.mark.embedcache(…)`, and its way to a session fixture.

A session fixture sees no marker. So the marker reaches it as a parameter, with an id that is
hidden: test ids and `--lf` do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_embedcache.models.strategies import strategy_named
from pytest_embedcache.plugin.table import Mode

__all__ = ["KEYS", "apply_marker", "marked", "marked_dropin"]

KEYS = ("model", "device", "strategy", "mode", "dropin", "no_models")
#: Those that the fixtures are told.
_OF_MODELS = ("model", "device", "strategy", "mode")


class MarkerError(pytest.UsageError, pytest.Collector.CollectError):  # type: ignore[misc]
    """A marker that cannot be read; shown without a traceback."""


def marked(definition: Any) -> dict[str, Any]:
    """The keys of all markers on a test, its class and its module; the closest wins.

    The device `auto` is None, as on the command line.

    Raises `MarkerError` for an unknown key or a value that cannot be used.
    """
    merged: dict[str, Any] = {}
    for mark in definition.iter_markers("embedcache"):
        unknown = [*map(repr, mark.args), *(key for key in mark.kwargs if key not in KEYS)]
        if unknown:
            raise MarkerError(
                f"{definition.nodeid}: @pytest.mark.embedcache takes the keywords "
                f"{', '.join(KEYS)}; it does not know {', '.join(unknown)}"
            )
        merged = {**mark.kwargs, **merged}
    if merged:
        from pytest_embedcache.spec import ModelSpec

        if merged.get("device") == "auto":
            merged["device"] = None
        try:
            ModelSpec(merged.get("model", "x"), device=merged.get("device"))
            if (mode := merged.get("mode", Mode.AUTO)) not in tuple(Mode):
                raise ValueError(f"mode={mode!r} cannot be used: use {' or '.join(Mode)}")
            strategy_named(merged.get("strategy", "lazy"))
            for flag in ("dropin", "no_models"):
                if type(value := merged.get(flag, True)) is not bool:
                    raise ValueError(f"{flag}={value!r} cannot be used: use True or False")
        except ValueError as error:  # ModelSpecError is one
            raise MarkerError(f"{definition.nodeid}: @pytest.mark.embedcache: {error}") from error
    return merged


def apply_marker(metafunc: pytest.Metafunc, ours: dict[str, Any]) -> None:
    """Parametrize those of our fixtures (name -> function) that a marked test uses."""
    marks = marked(metafunc.definition)
    if not (options := {key: marks[key] for key in _OF_MODELS if key in marks}):
        return
    # Hashable: only such values does pytest compare when it puts the tests of one model together.
    param = tuple(sorted(options.items()))
    parametrized = {
        name.strip()
        for mark in metafunc.definition.iter_markers("parametrize")
        for name in _names(mark.args[0] if mark.args else mark.kwargs.get("argnames", ()))
    }
    for name, function in ours.items():
        definitions = metafunc._arg2fixturedefs.get(name, ())
        if name not in parametrized and _leads_to(function, name, definitions):
            metafunc.parametrize(
                name, [param], indirect=True, scope="session", ids=[pytest.HIDDEN_PARAM]
            )


def marked_dropin(item: Any) -> bool:
    """Whether the drop-in stands in while a test runs; the closest marker wins."""
    said = (
        mark.kwargs["dropin"] for mark in item.iter_markers("embedcache") if "dropin" in mark.kwargs
    )
    return bool(next(said, True))


def _leads_to(function: Any, name: str, definitions: Sequence[Any]) -> bool:
    """Whether a test that asks for the fixture `name` gets ours.

    A conftest may have its own, which knows no parameter of ours, or one that is built on ours.
    """
    for definition in reversed(definitions):
        if definition.func is function:
            return True
        if name not in definition.argnames:
            break
    return False


def _names(argnames: Any) -> list[str]:
    return argnames.split(",") if isinstance(argnames, str) else list(argnames)
