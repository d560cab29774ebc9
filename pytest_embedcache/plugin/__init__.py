"""The only door to pytest: `pytest -p embedcache`.

Nothing is imported, written or said here until a fixture, an option, an ini key or an environment
variable of ours is used.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.plugin import dropin
from pytest_embedcache.plugin.brevity import shorten
from pytest_embedcache.plugin.fakes import guarded
from pytest_embedcache.plugin.fixtures import (
    MODEL_FIXTURES,
    RUN,
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
from pytest_embedcache.plugin.gate_marker import (
    GATE_MARKER,
    asked_of,
    judge_marked,
    skip_unmeasured,
)
from pytest_embedcache.plugin.gates import group_gates
from pytest_embedcache.plugin.gates_report import gate_lines
from pytest_embedcache.plugin.marker import apply_marker
from pytest_embedcache.plugin.options import MARKER, STUB_MISSING, add_options, read_ini
from pytest_embedcache.plugin.report import LINES, header, summary, write_json
from pytest_embedcache.plugin.report_file import write_report
from pytest_embedcache.plugin.xdist import Alone, Controller, role_of

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

_ROLE = pytest.StashKey[Alone]()
_STUB: pytest.StashKey[Stub | None] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    dropin.install(early_config)  # first: where vectors are recorded, nothing is missing
    if read_ini(early_config, STUB_MISSING):
        from pytest_embedcache.testing.stub import provide_missing

        early_config.stash[_STUB] = provide_missing()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", GATE_MARKER)
    role = config.stash[_ROLE] = role_of(config)
    config.stash[RUN] = role.run
    role.start()
    dropin.start(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if role := config.stash.get(_ROLE, None):
        role.stop()
    if stub := config.stash.get(_STUB, None):
        stub.remove()


def pytest_report_header(config: pytest.Config) -> str | None:
    return header(config.stash[RUN].settings)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    apply_marker(metafunc, MODEL_FIXTURES)
    asked_of(metafunc.definition)  # a marker that cannot be read is an error now


@pytest.hookimpl(tryfirst=True)  # xdist makes ids of the groups in its own
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        group_gates(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        session.testsfailed += judge_marked(session, session.config.stash[RUN].gates)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with dropin.as_marked(item), guarded(item, item.config.stash[RUN].guard):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    run = item.config.stash[RUN]
    skip_unmeasured(item, run.gates)
    with run.recordings.missing_nothing():
        result = yield
    for name in MODEL_FIXTURES.keys() & getattr(item, "funcargs", {}).keys():
        run.used(item.funcargs[name])  # type: ignore[attr-defined]
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with item.config.stash[RUN].recordings.missing_nothing():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with item.config.stash[RUN].recordings.missing_nothing():
        return (yield)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    if items:
        run = items[0].config.stash[RUN]
        run.recordings.deselected += len(items)
        run.gates.left_out(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    shorten(call, item.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    if isinstance(role := node.config.stash[_ROLE], Controller):
        role.configure_worker(node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    if isinstance(role := node.config.stash[_ROLE], Controller):
        role.worker_is_down(node)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    role = session.config.stash[_ROLE]
    role.finish()
    role.finish_recordings(session)
    path = role.run.settings.json
    if path and role.reports and not session.config.option.collectonly:
        write_json(path, role.run.settings, role.result())
    if role.durations is not None and not session.config.option.collectonly:
        write_report(
            session,
            role.run,
            role.result(),
            role.ending.said(texts=role.run.settings.report_texts),
            role.durations,
        )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    role = config.stash[_ROLE]
    if not role.reports:
        return
    room = LINES - len(role.ending.lines)
    asked_for = bool(role.run.settings.given)
    lines = [*summary(role.result(), asked_for=asked_for, room=room), *role.ending.lines]
    gates = [*gate_lines(role.result()["gates"])]
    for title, section in (("embedcache", lines), ("embedcache gates", gates)):
        if section:
            terminalreporter.section(title)
            for line in section:
                terminalreporter.line(line)
