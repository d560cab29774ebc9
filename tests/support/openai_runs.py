"""Processes whose OpenAI client is the drop-in's, over a fake service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pytest_embedcache.dropin.openai import OpenAIStandIn
from pytest_embedcache.dropin.openai_calls import Names
from pytest_embedcache.dropin.switch import Switch
from pytest_embedcache.testing.fake_model import fake_vector
from pytest_embedcache.testing.fake_openai import FakeOpenAI
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.recording import RecordPolicy, RecordStore
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.replay import DirectStore, RecordedModels, ReplayPolicy
from pytest_embedcache.vectors.replay_misses import Misses
from pytest_embedcache.vectors.spool import Spool, merge
from pytest_embedcache.vectors.tiered import TieredStore

SMALL = "text-embedding-3-small"
#: What the fake is taken for: its port is another in every run.
URL = "https://service.test/v1"


@contextmanager
def served() -> Iterator[FakeOpenAI]:
    """A service that no drop-in knows to be a fake; its models have 8 components."""
    fake = FakeOpenAI()
    fake.models = {SMALL: 8, "text-embedding-3-large": 12}
    try:
        yield fake
    finally:
        fake.close()


@contextmanager
def dropped_in(
    cache: VectorCache, fake: FakeOpenAI | None = None, **versions: str
) -> Iterator[Switch]:
    """The drop-in is in place; `fake` is taken for the service at `URL`."""
    aliases = {fake.base_url: URL} if fake is not None else {}
    with standing_in(cache, Names(aliases, versions)) as switch:
        yield switch


@contextmanager
def standing_in(cache: VectorCache, names: Names) -> Iterator[Switch]:
    """The same with any names."""
    keyless = cache.policy.replays
    switch = Switch([OpenAIStandIn(names, keyless=keyless, cache=lambda: cache)])
    switch.install()
    switch.started = True
    try:
        yield switch
    finally:
        switch.remove()


def memory() -> VectorCache:
    """A process's store, empty."""
    return VectorCache(TieredStore([MemoryStore()]))


def recording(recordings: Path, spool: Path, *, anew: bool = False) -> VectorCache:
    """A process in `record`, or `rerecord`."""
    store = RecordStore(RecordingsStore(recordings, strict=True), Spool(spool), anew=anew)
    return VectorCache(DirectStore(store), RecordPolicy(store, {}))


def recorded(recordings: Path, spool: Path, *, anew: bool = False) -> None:
    """The end of such a run."""
    merge(spool, recordings, replace=anew)


def replaying(recordings: Path) -> VectorCache:
    """A process in `replay`."""
    store = RecordingsStore(recordings, strict=True)
    models = RecordedModels(store, {}, command=lambda: "the command")
    return VectorCache(
        DirectStore(store), ReplayPolicy(models, Misses(store, lambda: "the command"))
    )


def expected(*texts: str, model: str = SMALL, size: int = 8) -> np.ndarray:
    """The right vectors."""
    return np.stack([fake_vector(model, text, size) for text in texts])


def vectors(response: Any) -> np.ndarray:
    """The rows of a response that has numbers, in its order."""
    return np.array([row.embedding for row in response.data], dtype=np.float32)
