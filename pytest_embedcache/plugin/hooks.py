"""What pytest calls in a run that uses this package; a plugin that is registered when one does."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest

from pytest_embedcache.plugin import dropin
from pytest_embedcache.plugin.fixtures import MODEL_FIXTURES
from pytest_embedcache.plugin.report import LINES, header, summary, write_json
from pytest_embedcache.plugin.waking import GATE_MARKER, RUN
from pytest_embedcache.plugin.xdist import Alone, Controller, role_of

__all__ = ["begin"]

_ROLE = pytest.StashKey[Alone]()


def begin(config: pytest.Config) -> None:
    """Read the settings, and be part of the run from now on."""
    role = config.stash[_ROLE] = role_of(config)
    config.stash[RUN] = role.run
    # Before the start: a run that ends by it is stopped as well.
    config.pluginmanager.register(sys.modules[__name__], "embedcache-run")
    role.start()
    dropin.start(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_ROLE].stop()


def pytest_report_header(config: pytest.Config) -> str | None:
    return header(config.stash[RUN].settings)


def _has_gate_marker(item: Any) -> bool:
    return item.get_closest_marker(GATE_MARKER) is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        if any(map(_has_gate_marker, session.items)):
            from pytest_embedcache.plugin.gate_marker import judge_marked

            session.testsfailed += judge_marked(session, session.config.stash[RUN].gates)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with dropin.as_marked(item), item.config.stash[RUN].guard.around(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    run = item.config.stash[RUN]
    if _has_gate_marker(item):
        from pytest_embedcache.plugin.gate_marker import skip_unmeasured

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
        from pytest_embedcache.plugin.report_file import write_report

        write_report(
            session,
            role.run,
            role.result(),
            role.ending.said(texts=role.run.settings.report_texts) if role.ending else [],
            role.durations,
        )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    role = config.stash[_ROLE]
    if not role.reports:
        return
    due = role.ending.lines if role.ending else []
    asked_for = bool(role.run.settings.given)
    lines = [*summary(role.result(), asked_for=asked_for, room=LINES - len(due)), *due]
    gates: list[str] = []
    if rows := role.result()["gates"]:
        from pytest_embedcache.plugin.gates_report import gate_lines

        gates = [*gate_lines(rows)]
    for title, section in (("embedcache", lines), ("embedcache gates", gates)):
        if section:
            terminalreporter.section(title)
            for line in section:
                terminalreporter.line(line)
