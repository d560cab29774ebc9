"""The drop-in in a run of pytest: put in place before the first conftest is imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_embedcache.plugin.marker import marked_dropin
from pytest_embedcache.plugin.options import asked_early, read_settings
from pytest_embedcache.plugin.table import Mode
from pytest_embedcache.plugin.waking import wake

if TYPE_CHECKING:
    from pytest_embedcache.dropin.switch import StandIn, Switch
    from pytest_embedcache.models.remote import RemoteModel
    from pytest_embedcache.plugin.settings import Settings
    from pytest_embedcache.testing.fake_remote import FakeRemote

__all__ = ["SWITCH", "as_marked", "install", "start"]

SWITCH: pytest.StashKey[Switch] = pytest.StashKey()


def install(config: pytest.Config) -> None:
    """Put the stand-ins into their places, where the drop-in was asked for; once."""
    if SWITCH in config.stash or not asked_early(config, "dropin"):
        return
    from pytest_embedcache.dropin.switch import Switch

    switch = config.stash[SWITCH] = Switch(_stand_ins(config, read_settings(config)))
    switch.install()
    # Also where the run ends before it is configured.
    config.add_cleanup(switch.remove)


def _stand_ins(config: pytest.Config, settings: Settings) -> list[StandIn]:
    """One row for each library."""
    from pytest_embedcache.dropin.openai import OpenAIStandIn
    from pytest_embedcache.dropin.openai_calls import Names
    from pytest_embedcache.dropin.sentence_transformers import SentenceTransformers
    from pytest_embedcache.dropin.shared import SharedModels
    from pytest_embedcache.plugin.imports import as_in_production
    from pytest_embedcache.plugin.recordings import have_recordings

    replaying = settings.mode == Mode.REPLAY
    faking = settings.mode == Mode.FAKE
    stand_ins: list[StandIn] = [
        SentenceTransformers(
            # By name: the run is not there yet.
            SharedModels(lambda: wake(config).registries.make(), as_in_production),
            replaying=replaying,
            faking=faking,
            without=faking or (replaying and have_recordings(settings.recordings or "")),
        ),
        OpenAIStandIn(
            Names(settings.aliases, settings.versions),
            keyless=replaying,
            fake=_fake_service if faking else None,
        ),
    ]
    if settings.dropin_defer:
        from pytest_embedcache.dropin.deferred import DeferredNames

        stand_ins.append(DeferredNames())
    return stand_ins


def _fake_service(remote: RemoteModel) -> FakeRemote:
    """The fake of a service's model, of the kind that the mode `fake` has."""
    from pytest_embedcache.testing.fake_remote import FakeRemote
    from pytest_embedcache.testing.fakes import FakeEmbeddingModels

    return FakeRemote(remote, FakeEmbeddingModels())


def start(config: pytest.Config) -> None:
    """The run's settings are in force; a plugin that came late puts the stand-ins in place now."""
    install(config)
    if switch := config.stash.get(SWITCH, None):
        switch.started = True


@contextmanager
def as_marked(item: pytest.Item) -> Iterator[None]:
    """Around a test: nothing stands in where `@pytest.mark.embedcache(dropin=False)` says so."""
    switch = item.config.stash.get(SWITCH, None)
    if switch is None or marked_dropin(item):
        yield
        return
    with switch.off():
        yield
