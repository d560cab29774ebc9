"""The store behind `get_model`: where it is, what bounds it, and what a process leaves behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.children import python
from support.encoders import Files, PureBackend, right
from support.own_defaults import own_defaults

from pytest_embedcache import ModelRegistry, get_model
from pytest_embedcache.errors import SettingsError
from pytest_embedcache.models.registry import swap_default_registry
from pytest_embedcache.vectors import api
from pytest_embedcache.vectors.api import (
    StoreSettings,
    default_cache,
    open_cache,
    swap_default_cache,
)


@pytest.fixture(autouse=True)
def _own_defaults() -> Iterator[None]:
    with own_defaults():
        yield


@pytest.fixture
def pure() -> PureBackend:
    """The default registry's backend `pure`, with the model `m`."""
    backend = PureBackend(m=Files())
    swap_default_registry(ModelRegistry(backends={"pure": backend}))
    return backend


def test_the_default_store_is_in_the_cache_directory(pure: PureBackend, cache_dir: Path) -> None:
    """Memory before SQLite; the file appears with the first vector."""
    store = default_cache().store
    assert store is not None
    assert [tier.name for tier in store.stores] == ["memory", "sqlite"]
    assert not list(cache_dir.rglob("*.sqlite3"))
    get_model("m", backend="pure").encode("a")
    assert len(list(cache_dir.rglob("*.sqlite3"))) == 1


def test_the_default_store_is_made_once() -> None:
    """However many threads ask first."""
    before = swap_default_cache(None)
    with ThreadPoolExecutor(8) as pool:
        caches = {id(cache) for cache in pool.map(lambda _: default_cache(), range(64))}
    assert len(caches) == 1
    made = swap_default_cache(before)
    assert made is not None
    made.close()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`EMBEDCACHE_` and the field's name in capitals; an empty one is as if it were not set."""
    monkeypatch.setenv("EMBEDCACHE_CACHE_MAX_SIZE", "1000000")
    monkeypatch.setenv("EMBEDCACHE_CACHE_TTL", "60")
    monkeypatch.setenv("EMBEDCACHE_MEMORY_MAX_SIZE", "2000")
    monkeypatch.setenv("EMBEDCACHE_MEMORY_TTL", "30")
    monkeypatch.setenv("EMBEDCACHE_REDIS_PREFIX", "")
    monkeypatch.setenv("EMBEDCACHE_REDIS_CLUSTER", "1")
    monkeypatch.setenv("EMBEDCACHE_REDIS_URL", "redis://:password@localhost/0")
    found = StoreSettings.from_environment("somewhere")
    assert found == StoreSettings(
        directory="somewhere",
        cache_max_size=1_000_000,
        cache_ttl=60,
        memory_max_size=2000,
        memory_ttl=30,
        redis_url="redis://:password@localhost/0",
        redis_cluster=True,
    )
    assert "password" not in repr(found)


@pytest.mark.parametrize("text", ["0", "-1", "much", "1.5", "1e9"])
def test_a_number_that_is_none_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That names the variable and the unit."""
    monkeypatch.setenv("EMBEDCACHE_CACHE_MAX_SIZE", text)
    with pytest.raises(SettingsError, match=r"EMBEDCACHE_CACHE_MAX_SIZE.*give it in bytes"):
        StoreSettings.from_environment()


def test_a_switch_that_is_neither_on_nor_off_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """That names the variable."""
    monkeypatch.setenv("EMBEDCACHE_REDIS_CLUSTER", "perhaps")
    with pytest.raises(SettingsError, match="EMBEDCACHE_REDIS_CLUSTER"):
        StoreSettings.from_environment()


def test_a_bound_on_memory_is_kept(tmp_path: Path) -> None:
    """`memory_max_size` is that of the memory tier."""
    cache = open_cache(StoreSettings(directory=str(tmp_path), memory_max_size=100))
    assert cache.store is not None
    items = {bytes([n]) * 32: np.ones(8, np.float32) for n in range(10)}
    cache.store.put_many("0" * 64, items)
    assert cache.store.stores[0].stats().entries == 3
    assert cache.store.stores[1].stats().entries == 10
    cache.close()


@pytest.mark.parametrize(
    ("lives", "kept"),
    [
        ({}, [True, True]),
        ({"cache_ttl": 60}, [False, False]),
        ({"memory_ttl": 60}, [False, True]),
        ({"cache_ttl": 60, "memory_ttl": 7200}, [True, False]),
    ],
    ids=repr,
)
def test_a_life_in_sqlite_is_one_in_memory_unless_that_has_its_own(
    lives: dict[str, float], kept: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in each an hour later; a process that runs on may not hold for ever what expired."""
    cache = open_cache(StoreSettings(directory=str(tmp_path), **lives))  # type: ignore[arg-type]
    assert cache.store is not None
    items = {bytes(32): np.ones(8, np.float32)}
    cache.store.put_many("0" * 64, items)
    for store in cache.store.stores:
        clock = vars(store)["_clock"]
        monkeypatch.setattr(store, "_clock", lambda clock=clock: clock() + 3600)
    found = [len(store.get_many("0" * 64, list(items))) == 1 for store in cache.store.stores]
    assert found == kept
    cache.close()


# ------------------------------------------------------------------------------ import, fork


def test_importing_get_model_imports_nothing_heavy() -> None:
    """Neither numpy nor sqlite3 nor a loop, before there is a text."""
    code = (
        "import sys\nfrom pytest_embedcache import get_model, CachedModel\n"
        "heavy = {'numpy', 'torch', 'filelock', 'sqlite3', 'asyncio', 'redis', 'platformdirs', "
        "'huggingface_hub', 'pytest', 'sentence_transformers', 'importlib.metadata'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert python(code) == "[]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # 3.12 and later
def test_a_child_forked_while_a_model_is_asked_for_can_ask_too(pure: PureBackend) -> None:
    """The lock that another thread holds at that moment is not the child's."""
    holding, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with api._default_lock:
            holding.set()
            assert go_on.wait(120)

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(120)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        good = get_model("m", backend="pure").encode("a").tobytes() == right(["a"])
        os._exit(0 if good else 1)
    go_on.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0


def test_the_process_ends_with_its_store_closed_and_its_counts_kept() -> None:
    """What the default store was asked is in the history of the cache directory."""
    python(
        "from pytest_embedcache.vectors.api import default_cache\n"
        "default_cache().tallies.add('m', asked=3, computed=3)"
    )
    [file] = Path(os.environ["EMBEDCACHE_DIR"]).rglob("history.jsonl")
    assert '"asked": 3' in file.read_text()
