"""The guard against real models: set by an option, a marker, or a fixture."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import pytest

from pytest_embedcache.plugin.running import running_test

if TYPE_CHECKING:
    from pytest_embedcache.testing.no_models import NoModels

__all__ = ["ModelGuard"]


class ModelGuard:
    """Forbids real models, or lets them through; costs nothing until it is set."""

    def __init__(self) -> None:
        self._guard: NoModels | None = None

    def set(self, forbidden: bool) -> AbstractContextManager[None]:
        """Forbid, or allow, inside."""
        if self._guard is None:
            if not forbidden:
                return nullcontext()
            from pytest_embedcache.testing.no_models import NoModels

            self._guard = NoModels(_running, _EXEMPT)
        return self._guard.forbidden() if forbidden else self._guard.allowed()

    def around(self, item: pytest.Item) -> AbstractContextManager[None]:
        """Around a test: as its closest marker says, or else as the run does."""
        for mark in item.iter_markers("embedcache"):
            if isinstance(wanted := mark.kwargs.get("no_models"), bool):
                return self.set(wanted)
        return nullcontext()


_EXEMPT = "; or let this test through: @pytest.mark.embedcache(no_models=False)"


def _running() -> str:
    """The test that runs now, by its id."""
    return running_test() or "the run"
