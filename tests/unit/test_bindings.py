"""Replacing a class under every name: also in modules that are no ordinary ones."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import pytest
from support.toys import DEADLOCK, start

from pytest_embedcache.errors import UnresolvedBindingError
from pytest_embedcache.testing.bindings import Guard, replace_everywhere


class Base:
    def __init__(self, name: str = "") -> None:
        self.name = name


class Real(Base):
    """Has no `__init__` of its own."""


class Own:
    def __init__(self, name: str = "") -> None:
        self.name = f"own {name}"


class Fake:
    pass


class Stubborn(types.ModuleType):
    """Lets nobody set anything, and imports the world if it is asked for its dictionary."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} is read-only")

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        raise AssertionError("this would import everything")


class Equal:
    """A value whose comparison is none of our business."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of every kind, each with the real class under a name or two."""
    plain = types.ModuleType("plain")
    plain.bound, plain.renamed, plain.odd = Real, Real, Equal()  # type: ignore[attr-defined]
    stubborn = Stubborn("stubborn")
    vars(types.ModuleType)["__dict__"].__get__(stubborn)["bound"] = Real
    instance = types.SimpleNamespace(bound=Real)
    made = {"plain": plain, "stubborn": stubborn, "instance": instance, "nothing": None}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def names(modules: dict[str, Any]) -> set[Any]:
    """What the names are now."""
    dictionary = vars(types.ModuleType)["__dict__"].__get__(modules["stubborn"])
    return {
        modules["plain"].bound,
        modules["plain"].renamed,
        modules["instance"].bound,
        dictionary["bound"],
    }


def test_every_global_is_replaced_and_put_back(modules: dict[str, Any]) -> None:
    """In lazy and read-only modules, too, and in things that are no modules."""
    with replace_everywhere(Real, Fake):
        assert names(modules) == {Fake}
        late = types.ModuleType("late")
        late.bound = Fake  # type: ignore[attr-defined]
        modules["plain"].taken = Fake
        sys.modules["late"] = late
    del sys.modules["late"]
    assert names(modules) == {Real}
    assert late.bound is Real  # type: ignore[attr-defined]
    assert modules["plain"].taken is Real


def test_names_are_put_back_after_an_error(modules: dict[str, Any]) -> None:
    """Whatever a test does."""
    with pytest.raises(KeyboardInterrupt), replace_everywhere(Real, Fake):
        raise KeyboardInterrupt
    assert names(modules) == {Real}


@pytest.mark.parametrize("real", [Real, Own])
def test_what_kept_the_class_cannot_construct_it(real: type[Any]) -> None:
    """The error names the module; afterwards it can, and the class has what it had."""
    before = dict(vars(real))
    keep = functools.partial(real, "x")
    guard = Guard(real)
    with guard.up():
        for construct in (keep, lambda: real("x")):
            with pytest.raises(UnresolvedBindingError, match="something other than a global") as e:
                construct()
            assert e.value.module == __name__
    assert dict(vars(real)) == before
    assert keep().name.endswith("x")


def test_a_subclass_is_named(modules: dict[str, Any]) -> None:
    """With the module that has it."""
    mine = type("Mine", (Own,), {"__module__": "their.module"})
    with (
        Guard(Own).up(),
        pytest.raises(
            UnresolvedBindingError, match="its class Mine derives from the real one"
        ) as e,
    ):
        mine("x")
    assert e.value.module == "their.module"


def test_who_means_the_real_class_gets_it() -> None:
    """By the guard's own way, and in that thread alone."""
    errors: list[BaseException | None] = []

    class Nosy:
        def __init__(self) -> None:
            errors.append(start(Nosy).exception(DEADLOCK))

    guard = Guard(Nosy)
    with guard.up():
        assert isinstance(guard.build(), Nosy)
        with pytest.raises(UnresolvedBindingError):
            Nosy()
    assert [type(error) for error in errors] == [UnresolvedBindingError]
