"""Names that wait: what can be done with one before what it stands for is imported."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.toylib import write_toylib

from pytest_embedcache.dropin import deferred
from pytest_embedcache.dropin.deferred import DeferredNames, deferred_class, deferred_function
from pytest_embedcache.dropin.switch import Switch


def forget() -> None:
    """Take `toylib` out of `sys.modules`."""
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("toylib", "toylib_log")
    ]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _toylib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_toylib(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield
    forget()


def ran() -> list[str]:
    """The modules whose code has run."""
    found: list[str] = importlib.import_module("toylib_log").log
    return found


def test_a_class_waits_until_it_is_used() -> None:
    """Instance and subclass checks, names and annotations import nothing; the rest does."""
    waiting: Any = deferred_class("toylib.part.model", "Class")
    assert not isinstance(1, waiting)
    assert not issubclass(int, waiting)
    assert (waiting | None) is not None
    assert (waiting.__module__, waiting.__qualname__) == ("toylib.part.model", "Class")
    assert ran() == []

    made = waiting(3)
    assert made.value == 3
    real = importlib.import_module("toylib.part.model").Class
    assert type(made) is real
    assert isinstance(made, waiting)
    assert issubclass(real, waiting)
    assert type(pickle.loads(pickle.dumps(made))) is real


def test_a_subclass_derives_from_the_real_one() -> None:
    """Which is imported for that."""
    waiting: Any = deferred_class("toylib.part.model", "Class")

    class Mine(waiting):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(7)

    real = importlib.import_module("toylib.part.model").Class
    assert Mine.__mro__[1] is real
    assert Mine().value == 7
    assert isinstance(Mine(), waiting)


def test_a_function_waits_until_it_is_called() -> None:
    """Its name is its own."""
    near = deferred_function("toylib.util", "near")
    assert (near.__name__, near.__module__) == ("near", "toylib.util")
    assert ran() == []
    assert near() == 1
    assert ran()[0] == "toylib"


def test_names_are_deferred_in_the_modules_that_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until something else of such a module is asked for; then they are the real ones."""
    names = {"toylib.part": {"toylib.part": ("Class",), "toylib.part.model": ("Class",)}}
    monkeypatch.setattr(deferred, "TRANSFORMERS", names)
    stand_in = DeferredNames()
    stand_in.install(Switch([]))
    (tmp_path / "toylib" / "__init__.py").write_text("")  # which else uses them itself
    from toylib.part import Class
    from toylib.part.model import Class as Same

    assert ran() == []
    assert Class(4).value == Same(4).value == 4
    part = importlib.import_module("toylib.part")
    assert part.Other.__name__ == "Other"
    assert part.Class is importlib.import_module("toylib.part.model").Class
    assert isinstance(part.Class(), Class)
    before = len(sys.meta_path)
    stand_in.remove()
    assert len(sys.meta_path) == before - 1


def test_a_module_that_is_imported_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to be gained."""
    importlib.import_module("toylib.part")
    monkeypatch.setattr(deferred, "TRANSFORMERS", {"toylib.part": {"toylib.part": ("Class",)}})
    before = list(sys.meta_path)
    stand_in = DeferredNames()
    stand_in.install(Switch([]))
    assert sys.meta_path == before
    stand_in.remove()


def test_the_list_names_what_transformers_has() -> None:
    """Each name of it, where transformers is installed."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("transformers is not installed")
    folder = Path(spec.submodule_search_locations[0])
    for modules in deferred.TRANSFORMERS.values():
        for module, names in modules.items():
            parts = module.split(".")[1:]
            file = folder.joinpath(*parts).with_suffix(".py")
            file = file if file.exists() else folder.joinpath(*parts, "__init__.py")
            text = file.read_text(encoding="utf-8")
            assert [name for name in names if name not in text] == []
