"""Fakes in a run: the mode `fake`, and the fixtures' fakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_embedcache.models.backends import Backend
    from pytest_embedcache.plugin.run import Run
    from pytest_embedcache.testing.fake_model import FakeEmbeddingModel
    from pytest_embedcache.testing.fakes import FakeEmbeddingModels

__all__ = ["fake_backends", "fakes_of"]


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
        from pytest_embedcache.plugin.waking import wake
        from pytest_embedcache.testing.fakes import FakeEmbeddingModels

        run = wake(request.config)
        stash[_FAKES] = _Fakes(FakeEmbeddingModels(name=run.settings.model))
    fakes = stash[_FAKES]
    yield fakes
    fakes.factory.end()
