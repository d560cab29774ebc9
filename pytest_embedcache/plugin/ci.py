"""Whether this is CI, as pytest itself reads it."""

from __future__ import annotations

import os
from importlib import import_module

__all__ = ["BY_CI", "on_ci"]

#: What gave the mode, where nobody else did.
BY_CI = "CI is set, and there are recordings"


def on_ci() -> bool:
    """pytest's own answer: from version 9 on, `CI` or `BUILD_NUMBER` is set and not empty; before,
    set to anything."""
    for module in ("_pytest.compat", "_pytest.assertion.util"):  # pytest 9, and 8
        ask = getattr(import_module(module), "running_on_ci", None)
        if ask is not None:
            return bool(ask())
    return any(os.environ.get(name) for name in ("CI", "BUILD_NUMBER"))
