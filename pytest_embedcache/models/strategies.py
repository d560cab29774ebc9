"""The five strategies: when a model is loaded, and what of it.

Nothing is imported here: a preload names a strategy in its first millisecond.
"""

from __future__ import annotations

import os

from pytest_embedcache.models import defaults

__all__ = ["STRATEGIES", "Strategy", "default_strategy", "short", "strategy_named"]

VARIABLE = "EMBEDCACHE_STRATEGY"


class Strategy:
    """One row of the table.

    Attributes:
        name: By which it is chosen.
        at_once: A thread loads from the start; else the first text does whose vector is in no
            store.
        metadata_first: What the configuration files say is known before the load begins.
        backend, form: What is loaded. They are in the `ModelSpec`, and so in the key of a vector.
        instead: The backend that serves where this one cannot, None where another would give other
            vectors.
    """

    def __init__(
        self,
        name: str,
        *,
        at_once: bool = False,
        metadata_first: bool = False,
        backend: str = "torch",
        form: str = "float32",
        instead: str | None = None,
    ) -> None:
        self.name = name
        self.at_once = at_once
        self.metadata_first = metadata_first
        self.backend = backend
        self.form = form
        self.instead = instead

    def __repr__(self) -> str:
        return f"<Strategy {self.name}>"

    def kind(self, backend: str | None, form: str | None, *, chosen: bool) -> tuple[str, str]:
        """Backend and form, given those of the call, where None is open.

        What the call says wins over a strategy that it has not chosen itself. Raises
        `ModelSpecError` where it has chosen one that means another backend or form.
        """
        if backend in (None, self.backend) and form in (None, self.form):
            return self.backend, self.form
        if chosen and self.backend != "torch":
            from pytest_embedcache.errors import ModelSpecError

            means = f"backend {self.backend!r} and form {self.form!r}"
            raise ModelSpecError(
                "strategy", self.name, f"it means {means}; leave them out, or take another strategy"
            )
        return backend or "torch", form or "float32"


_ROWS = (
    Strategy("lazy"),
    Strategy("background", at_once=True),
    Strategy("progressive", at_once=True, metadata_first=True),
    Strategy("quantized", backend="onnx", form="int8"),
    Strategy("cached", backend="onnx", instead="torch"),
)
STRATEGIES = {row.name: row for row in _ROWS}


def strategy_named(name: str) -> Strategy:
    """The row of that name.

    Raises `ModelSpecError` for another name; it lists those that there are.
    """
    try:
        return STRATEGIES[name]
    except (KeyError, TypeError):
        from pytest_embedcache.errors import ModelSpecError

        known = ", ".join(STRATEGIES)
        raise ModelSpecError("strategy", name, f"use one of {known}") from None


def default_strategy(model: str | os.PathLike[str]) -> Strategy:
    """That of the model's preload, else what a run of tests has set, else `EMBEDCACHE_STRATEGY`,
    else `lazy`. The variable is read once for a default registry; `reset` lets it be read again.

    Raises `SettingsError` where the variable names none.
    """
    name = defaults.preloaded.get(short(os.fspath(model))) if defaults.preloaded else None
    name = name or defaults.strategy or defaults.environment
    if name is None:
        name = os.environ.get(VARIABLE) or "lazy"
        if name not in STRATEGIES:
            from pytest_embedcache.errors import SettingsError

            known = f"use one of {', '.join(STRATEGIES)}"
            raise SettingsError("strategy", name, VARIABLE, known)
        defaults.environment = name
    return STRATEGIES[name]


def short(model: str) -> str:
    """A model's name as most people write it."""
    return model.removeprefix("sentence-transformers/")
