"""What an implementation cannot do: declared, and shown as a skip with the reason."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import pytest

__all__ = ["Contract", "at_once", "needs"]

_Test = TypeVar("_Test", bound=Callable[..., Any])
#: Seconds after which threads that wait for each other are a failure; nothing waits for it else.
_DEADLOCK = 60.0


def needs(*capabilities: str) -> Callable[[_Test], _Test]:
    """This check is skipped for an implementation that lacks one of these."""

    def mark(test: _Test) -> _Test:
        test.__dict__["capabilities"] = capabilities
        return test

    return mark


class Contract:
    """The base of all contracts.

    Attributes:
        lacks: Capability -> why the implementation has not got it.
    """

    lacks: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        known = {
            capability
            for base in cls.__mro__
            for test in vars(base).values()
            for capability in getattr(test, "capabilities", ())
        }
        if unknown := set(cls.lacks) - known:
            raise TypeError(
                f"{cls.__name__}.lacks: this contract has no capability "
                f"{', '.join(sorted(unknown))}; it knows {', '.join(sorted(known)) or 'none'}"
            )

    @pytest.fixture(autouse=True)
    def _skip_what_is_lacking(self, request: pytest.FixtureRequest) -> None:
        for capability in getattr(request.function, "capabilities", ()):
            if capability in self.lacks:
                pytest.skip(f"lacks {capability}: {self.lacks[capability]}")


def at_once(*works: Callable[[], Any]) -> Sequence[Any]:
    """The results of `works`, each in a thread of its own, started together; or the first error."""
    barrier = threading.Barrier(len(works))
    found: list[Any] = [None] * len(works)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(_DEADLOCK)
            found[number] = works[number]()
        except BaseException as error:  # reported by the main thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_DEADLOCK)
    if any(thread.is_alive() for thread in threads):
        raise AssertionError(f"{len(works)} threads at once: some of them never came back")
    if errors:
        raise errors[0]
    return found
