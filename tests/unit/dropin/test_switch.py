"""The switch: all stand-ins or none, and out of the way while a test says so."""

from __future__ import annotations

import pytest

from pytest_embedcache.dropin.switch import Switch


class Noting:
    """A stand-in that writes down what is asked of it."""

    def __init__(self, name: str, log: list[str], *, fails: bool = False) -> None:
        self.name, self.log, self.fails = name, log, fails

    def install(self, switch: Switch) -> None:
        self.log.append(f"+{self.name}")
        if self.fails:
            raise OSError(self.name)

    def remove(self) -> None:
        self.log.append(f"-{self.name}")


def test_they_go_in_the_opposite_order_and_once() -> None:
    """The last first, however often it is said."""
    log: list[str] = []
    switch = Switch([Noting("a", log), Noting("b", log)])
    switch.install()
    switch.remove()
    switch.remove()
    assert log == ["+a", "+b", "-b", "-a"]


def test_one_that_fails_takes_all_with_it() -> None:
    """No half of them stays, and the error is the caller's."""
    log: list[str] = []
    switch = Switch([Noting("a", log), Noting("b", log, fails=True), Noting("c", log)])
    with pytest.raises(OSError, match="b"):
        switch.install()
    assert log == ["+a", "+b", "-b", "-a"]


def test_off_is_inside_the_block_alone() -> None:
    """Also when the block fails, and when one is within another."""
    switch = Switch([])

    def within() -> None:
        with switch.off():
            assert not switch.on
        assert not switch.on
        raise OSError("x")

    with pytest.raises(OSError, match="x"), switch.off():
        within()
    assert switch.on
