"""The circuit breaker: one try after a pause, and the pause doubles."""

from __future__ import annotations

from pytest_embedcache.vectors.breaker import Breaker


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_lets_everything_through_until_a_failure() -> None:
    """A breaker that has seen no failure costs nothing and stops nothing."""
    breaker = Breaker(Clock())
    assert all(breaker.allows() for _ in range(10))
    assert not breaker.is_open
    assert breaker.succeeded() is False


def test_one_caller_tries_after_the_pause() -> None:
    """When the pause is over, one is let through; the others wait for what it finds."""
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed()
    assert breaker.is_open
    assert not breaker.allows()
    clock.now += 1
    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]
    assert breaker.succeeded() is True
    assert all(breaker.allows() for _ in range(5))


def test_calls_that_failed_together_are_one_failure() -> None:
    """Eight threads that meet one outage do not make the pause 128 times as long."""
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(8):
        breaker.failed()
    clock.now += 1
    assert breaker.allows()
    for _ in range(8):
        breaker.failed()
    clock.now += 1.5
    assert not breaker.allows()
    clock.now += 0.5
    assert breaker.allows()


def test_a_try_that_never_came_back_is_tried_again() -> None:
    """A caller that was interrupted in its try does not leave the breaker open for ever."""
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed()
    clock.now += 1
    assert breaker.allows()
    clock.now += 1
    assert breaker.allows()
