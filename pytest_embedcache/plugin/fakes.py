"""Fakes in a run: the mode `fake`, the fixtures' fakes, and the guard against real models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from pytest_embedcache.plugin.running import running_test

if TYPE_CHECKING:
    from pytest_embedcache.models.backends import Backend
    from pytest_embedcache.plugin.run import Run
    from pytest_embedcache.testing.fake_model import FakeEmbeddingModel
    from pytest_embedcache.testing.fakes import FakeEmbeddingModels
    from pytest_embedcache.testing.no_models import NoModels

__all__ = ["ModelGuard", "fake_backends", "fakes_of", "guarded"]


def fake_backends(run: Run) -> Mapping[str, Backend]:
    """A table in which every backend makes fakes, of the run's model and any other."""
    from pytest_embedcache.models.backends import BACKENDS
    from pytest_embedcache.testing.fake_backend import FakeBackend
    from pytest_embedcache.testing.fakes import FakeEmbeddingModels

    fakes = FakeEmbeddingModels(name=run.settings.model)
    backend = FakeBackend(fakes, fakes)
    return dict.fromkeys([*BACKENDS, "fake"], backend)


@dataclass
class _Fakes:
    """Those of one test: its fixtures, and their twins, are one."""

    factory: FakeEmbeddingModels

    @cached_property
    def one(self) -> FakeEmbeddingModel:
        return self.factory()


_FAKES: pytest.StashKey[_Fakes] = pytest.StashKey()


@contextmanager
def fakes_of(request: pytest.FixtureRequest) -> Iterator[_Fakes]:
    """The fakes of the test that asks; what hangs in them is released at its end."""
    stash = request.node.stash
    if _FAKES not in stash:
        from pytest_embedcache.plugin.fixtures import RUN
        from pytest_embedcache.testing.fakes import FakeEmbeddingModels

        run = request.config.stash[RUN]
        stash[_FAKES] = _Fakes(FakeEmbeddingModels(name=run.settings.model))
    fakes = stash[_FAKES]
    yield fakes
    fakes.factory.end()


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


_EXEMPT = "; or let this test through: @pytest.mark.embedcache(no_models=False)"


def _running() -> str:
    """The test that runs now, by its id."""
    return running_test() or "the run"


def guarded(item: pytest.Item, guard: ModelGuard) -> AbstractContextManager[None]:
    """Around a test: as its closest marker says, or else as the run does."""
    for mark in item.iter_markers("embedcache"):
        if isinstance(wanted := mark.kwargs.get("no_models"), bool):
            return guard.set(wanted)
    return nullcontext()
