"""The only door to pytest: `pytest -p embedcache`.

Nothing is imported, written or said here until a fixture, an option, an ini key or an environment
variable of ours is used.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.plugin.imports import as_in_production

with as_in_production():  # five times as fast as through pytest's loader of plugins
    from pytest_embedcache.plugin.fixtures import (
        FIXTURES,
        GATE_FIXTURES,
        MODEL_FIXTURES,
        embedcache_fake_model,
        embedcache_fake_model_factory,
        embedcache_fake_openai,
        embedcache_fake_sentence_transformer,
        embedcache_model,
        embedcache_model_factory,
        embedcache_no_real_models,
        embedcache_registry,
        embedcache_speedup,
        embedcache_store,
        embedcache_warm_load_speedup,
        embedding_model,
        embedding_model_factory,
        fake_embedding_model,
        fake_embedding_model_factory,
        fake_openai,
        fake_sentence_transformer,
        model_registry,
        no_real_models,
        speedup,
        vector_store,
        warm_load_speedup,
    )
    from pytest_embedcache.plugin.options import STUB_MISSING, add_options, asked_early, read_ini
    from pytest_embedcache.plugin.waking import (
        DESELECTED,
        GATE_MARKER,
        stand_by,
        tell_of_nothing,
        wake,
    )

if TYPE_CHECKING:
    from pytest_embedcache.testing.stub import Stub

__all__ = [
    "embedcache_fake_model",
    "embedcache_fake_model_factory",
    "embedcache_fake_openai",
    "embedcache_fake_sentence_transformer",
    "embedcache_model",
    "embedcache_model_factory",
    "embedcache_no_real_models",
    "embedcache_registry",
    "embedcache_speedup",
    "embedcache_store",
    "embedcache_warm_load_speedup",
    "embedding_model",
    "embedding_model_factory",
    "fake_embedding_model",
    "fake_embedding_model_factory",
    "fake_openai",
    "fake_sentence_transformer",
    "model_registry",
    "no_real_models",
    "speedup",
    "vector_store",
    "warm_load_speedup",
]

_MARKERS = (
    "embedcache(model=, device=, strategy=, mode=, dropin=, no_models=): what embedding_model is "
    "in this test, with dropin=False that nothing stands in, and whether a real model may be "
    "loaded; keys that are left out keep the run's setting",
    "embedcache_speedup(over=, at_least=): this benchmark has to be so many times quicker than the "
    "benchmark of that name, in the same run",
)
_NAMES = ("embedcache", GATE_MARKER)
_STUB: pytest.StashKey[Stub] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    if asked_early(early_config, "dropin"):  # first: where vectors are recorded, nothing is missing
        from pytest_embedcache.plugin import dropin

        dropin.install(early_config)
    if read_ini(early_config, STUB_MISSING):
        from pytest_embedcache.testing.stub import provide_missing

        if (stub := provide_missing()) is not None:
            early_config.stash[_STUB] = stub


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    workers = yield
    if asked_early(config, "auto_workers"):
        from pytest_embedcache.plugin.auto_workers import fitting
        from pytest_embedcache.plugin.options import read_settings

        workers = fitting(read_settings(config), workers)
    return workers


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    stand_by(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if stub := config.stash.get(_STUB, None):
        stub.remove()


def _marked(item: Any) -> bool:
    return any(item.get_closest_marker(name) is not None for name in _NAMES)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _marked(metafunc.definition):
        from pytest_embedcache.plugin.gate_marker import asked_of
        from pytest_embedcache.plugin.marker import apply_marker

        apply_marker(metafunc, MODEL_FIXTURES)
        asked_of(metafunc.definition)  # a marker that cannot be read is an error now


def _uses(item: pytest.Item, fixtures: frozenset[str]) -> bool:
    return not fixtures.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.hookimpl(tryfirst=True)  # xdist makes ids of the groups in its own
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput") and any(_uses(item, GATE_FIXTURES) for item in items):
        from pytest_embedcache.plugin.gates import group_gates

        group_gates(items)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    if items:
        items[0].config.stash[DESELECTED].extend(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(_uses(item, FIXTURES) or _marked(item) for item in session.items):
        wake(session.config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    # An error of ours cannot have been raised where there are none.
    if call.excinfo is not None and "pytest_embedcache.errors" in sys.modules:
        from pytest_embedcache.plugin.brevity import shorten

        shorten(call, item.config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    tell_of_nothing(session.config)
