"""Modules that wait for their first use: what can be had without it, and what they are after it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.toylib import write_toylib

from pytest_embedcache.dropin.lazy import LazyPackage
from pytest_embedcache.errors import MissingExtraError


class StandIn:
    """In the place of `toylib.Class`."""


PUBLISHED = {"toylib": {"Class": StandIn}, "toylib.part": {"Class": StandIn}}


def forget() -> None:
    """Take `toylib` out of `sys.modules`."""
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("toylib", "toylib_log")
    ]:
        del sys.modules[name]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """`toylib` can be imported; the modules that became real are in the list."""
    write_toylib(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    became: list[Any] = []
    package = LazyPackage("toylib", PUBLISHED, became.append, stays=True)
    package.install()
    yield became
    if package in sys.meta_path:
        package.remove()
    forget()


def package() -> LazyPackage:
    """The one that is installed."""
    (found,) = (finder for finder in sys.meta_path if isinstance(finder, LazyPackage))
    return found


def ran() -> list[str]:
    """The modules whose code has run."""
    found: list[str] = importlib.import_module("toylib_log").log
    return found


def test_imports_run_nothing(real: list[Any]) -> None:
    """Neither the package, nor its modules, nor names that are modules, nor what is published."""
    import toylib
    import toylib.part.model
    from toylib import Class, util
    from toylib.part import Class as Below

    assert Class is Below is toylib.Class is StandIn
    assert util is sys.modules["toylib.util"] is toylib.util
    assert (ran(), real) == ([], [])


def test_first_use_runs_the_package_first_and_once(real: list[Any]) -> None:
    """A module that was bound early is the real one later, as is the package."""
    import toylib
    from toylib import util

    assert util.near() == 1
    assert util.near() == toylib.value == 1
    assert ran() == ["toylib", "toylib.util", "toylib.part"]
    assert real == [toylib]
    assert sys.modules["toylib.util"] is util
    assert sys.modules["toylib"] is toylib
    assert type(toylib) is type(util) is ModuleType
    assert inspect.getsource(util.near).startswith("def near")


def test_the_real_package_sees_real_things_alone(real: list[Any]) -> None:
    """What is published would leak into it, if it were there while the package is imported."""
    import toylib
    import toylib.part

    assert toylib.value == 1
    real_class = toylib.part.model.Class
    assert real_class is not StandIn
    assert toylib.seen_by_itself is toylib.seen_below is toylib.part.Class is real_class
    assert toylib.Class is StandIn  # for the others


def test_what_a_test_put_there_stays(real: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the package becomes real meanwhile; and ours is back afterwards."""
    import toylib

    with monkeypatch.context() as patch:
        patch.setattr("toylib.Class", "a mock")
        patch.setattr(toylib.util, "near", lambda: "patched")
        assert toylib.Class == "a mock"
        assert importlib.import_module("toylib.util").near() == "patched"
    assert toylib.Class is StandIn
    assert toylib.util.near() == 1


@pytest.mark.parametrize(
    "name",
    ["__wrapped__", "__warningregistry__", "__test__", "_mock_name", "_pytestfixturefunction"],
)
def test_who_looks_into_all_modules_starts_nothing(real: list[Any], name: str) -> None:
    """inspect, unittest, doctest, pytest, mock."""
    from toylib import util

    assert not hasattr(util, name)
    assert ran() == []


def test_private_names_are_the_real_ones(real: list[Any]) -> None:
    """Some libraries import them."""
    from toylib.util import _private

    assert _private() == "private"


def test_star_is_the_real_one(real: list[Any]) -> None:
    """`import *` gives what it gives without us."""
    space: dict[str, Any] = {}
    exec("from toylib.util import *", space)
    assert space["near"]() == 1


def test_specs_are_as_without_us(real: list[Any]) -> None:
    """Before and after an import, and without one."""
    found = importlib.util.find_spec("toylib")
    assert found is not None
    assert found.origin is not None
    assert found.origin.endswith("__init__.py")
    import toylib

    assert importlib.util.find_spec("toylib") is toylib.__spec__
    assert toylib.__file__ == found.origin
    assert importlib.util.find_spec("toylib.nothing") is None
    assert ran() == []


def test_what_is_missing_stays_missing(real: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the package, a name, and the package itself."""
    with pytest.raises(ModuleNotFoundError, match=r"toylib\.nothing"):
        importlib.import_module("toylib.nothing")
    with pytest.raises(ImportError, match="nothing"):
        exec("from toylib import nothing")
    package().remove()
    forget()
    absent = LazyPackage("toylib_absent", {}, real.append)
    absent.install()
    try:
        assert importlib.util.find_spec("toylib_absent") is None
        with pytest.raises(pytest.skip.Exception):
            pytest.importorskip("toylib_absent")
    finally:
        absent.remove()


def test_a_package_that_is_not_installed_can_be_there_all_the_same(real: list[Any]) -> None:
    """With what is published; anything else is an import error that names the extra."""
    name = "toylib_absent"
    absent = LazyPackage(name, {name: {"Class": StandIn}}, real.append, without=True)
    absent.install()
    try:
        module = importlib.import_module(name)
        assert importlib.util.find_spec(name) is not None
        assert module.Class is StandIn
        with pytest.raises(MissingExtraError, match=name):
            _ = module.value
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.util")
    finally:
        absent.remove()
    assert name not in sys.modules


def test_an_old_path_is_the_new_module(real: list[Any]) -> None:
    """Paths without a file are read from the package's own table, and run nothing."""
    import toylib.old
    from toylib import part

    assert toylib.old is part
    assert ran() == []
    assert importlib.import_module("toylib.old.Below").depth == 2


def test_a_module_is_not_taken_for_the_class_of_its_name(real: list[Any]) -> None:
    """`toylib.part.Other` is a module, and a class of `toylib.part`: the class it is."""
    import toylib.part.Other

    assert isinstance(toylib.part.Other, type)


def test_a_failing_import_is_the_callers_and_tried_again(real: list[Any]) -> None:
    """Nothing half real is left."""
    import toylib
    from toylib import util

    log = importlib.import_module("toylib_log")
    log.fails = True
    for _ in range(2):
        with pytest.raises(OSError, match="a broken install"):
            util.near()
    assert toylib.Class is StandIn
    log.fails = False
    assert util.near() == 1
    assert real == [toylib]


def test_a_failing_module_takes_nobody_with_it(real: list[Any]) -> None:
    """Its error comes at its first use, each time."""
    import toylib.broken

    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            _ = toylib.broken.value
    import toylib.apart

    assert toylib.apart.value == 3


def test_threads_see_whole_modules(real: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight that use three modules at once: one import, no half-made module, no stand-in inside."""
    import toylib
    from toylib import util

    start = threading.Barrier(8)
    found: list[object] = []

    def use(number: int) -> None:
        start.wait()
        try:
            found.append((util.near(), toylib.value, importlib.import_module("toylib.apart").value))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [(1, 1, 3)] * 8
    assert ran().count("toylib") == 1
    assert toylib.seen_by_itself is not StandIn


def test_who_needs_a_module_waits_until_it_has_run(real: list[Any]) -> None:
    """Another thread's import of it is not a reason for half a module."""
    import toylib.slow

    log = importlib.import_module("toylib_log")
    found: list[object] = []

    def use() -> None:
        try:
            found.append(toylib.slow.value)
        except BaseException as error:
            found.append(error)
            log.go.set()

    first, second = threading.Thread(target=use), threading.Thread(target=use)
    first.start()
    assert log.running.wait(60)
    second.start()
    first.join(60)
    second.join(60)
    assert found == [5, 5]


def test_nothing_is_left_when_it_goes(real: list[Any]) -> None:
    """What was lazy is imported anew by the next, and what somebody kept leads there."""
    import toylib
    from toylib import util

    before = [finder for finder in sys.meta_path if not isinstance(finder, LazyPackage)]
    package().remove()
    assert sys.meta_path == before
    assert not [name for name in sys.modules if name.partition(".")[0] == "toylib"]
    fresh = importlib.import_module("toylib")
    assert fresh is not toylib
    assert fresh.Class is not StandIn
    assert util.near() == 1
    assert toylib.value == 1


def test_bytes_and_sources_are_found(real: list[Any]) -> None:
    """Whoever asks a lazy module's loader gets the real one's answer."""
    import toylib.apart

    assert inspect.getsource(toylib.apart) == "value = 3\n"
    assert ran() == []
