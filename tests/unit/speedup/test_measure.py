"""Two functions in turns: order, setups, loops, the collector, the budget. No test takes time."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from typing import Any

import pytest

from pytest_embedcache.errors import SettingsError, SpeedupError
from pytest_embedcache.testing.speedup import Outcome, Speedup, measure, speedup
from pytest_embedcache.testing.speedup.timing import SAMPLE


class World:
    """A clock, and functions that move it and note that they were called.

    `tick` is what reading the clock costs, and `call` any call in a loop.
    """

    def __init__(self, tick: float = 0.0) -> None:
        self.now = 0.0
        self.tick = tick
        self.calls: list[str] = []

    def clock(self) -> float:
        self.now += self.tick
        return self.now

    def spend(self, name: str, *seconds: float) -> Callable[[], None]:
        """A function that takes these times in turn."""
        turns = list(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += turns[0]
            turns.append(turns.pop(0))

        return call

    def measure(self, baseline: Any, contender: Any, **options: Any) -> Speedup:
        given = {"at_least": 10, "rng": random.Random(0), "collect": lambda: None, **options}
        return measure(baseline, contender, timer=self.clock, clock=self.clock, **given)


# ------------------------------------------------------------------------------ outcomes


@pytest.mark.parametrize(
    ("ratio", "outcome"), [(12, Outcome.REACHED), (8, Outcome.MISSED), (10, Outcome.UNDECIDED)]
)
def test_ten_clear_rounds_decide(ratio: int, outcome: Outcome) -> None:
    """Above or below the bound ten rounds without noise are enough; on the bound none ever are."""
    world = World()
    found = world.measure(world.spend("b", ratio / 128), world.spend("c", 1 / 128), max_seconds=5)
    assert found.outcome is outcome
    assert found.ratio == pytest.approx(ratio)
    assert (found.low, found.high) == pytest.approx((ratio, ratio))
    if outcome is Outcome.UNDECIDED:
        assert 5 <= found.seconds < 5.2
        assert found.rounds > 30
    else:
        assert found.rounds == 10


def test_the_budget_ends_what_is_undecided() -> None:
    """Too few rounds fit in: no interval, no verdict, and the message says how long it takes."""
    world = World()
    found = world.measure(world.spend("b", 4.0), world.spend("c", 0.001), max_seconds=10)
    assert found.outcome is Outcome.UNDECIDED
    assert not found.passed
    assert found.rounds == 2
    text = "\n".join(found.lines())
    assert "only 2 rounds fitted in, and fewer than 10 show nothing" in text
    assert "give max_seconds=" in text
    assert "too few rounds for an interval" in found.line()


def test_a_budget_that_is_too_small_for_a_round_has_one() -> None:
    """Something is measured, and nothing decided."""
    world = World()
    found = world.measure(world.spend("b", 4.0), world.spend("c", 1.0), max_seconds=0.1)
    assert (found.rounds, found.outcome) == (1, Outcome.UNDECIDED)


def test_a_difference_that_does_not_matter_passes_and_says_so() -> None:
    """A contender that saves less than `ignore_below` is too small to matter, at any ratio."""
    world = World()
    found = world.measure(
        world.spend("b", 0.0029), world.spend("c", 0.0021), ignore_below=0.001, at_least=10
    )
    assert found.outcome is Outcome.TOO_SMALL
    assert found.passed
    assert "too small to matter" in found.line()
    assert "less than 1 ms apart" in found.line()


def test_a_difference_is_not_ignored_unless_that_is_asked() -> None:
    """The default ignores nothing."""
    world = World()
    found = world.measure(world.spend("b", 2e-6), world.spend("c", 1e-6))
    assert found.outcome is Outcome.MISSED


@pytest.mark.parametrize("contender", [0.5, 0.0039])
def test_a_contender_that_is_much_slower_is_not_too_small(contender: float) -> None:
    """The baseline's advantage matters as much."""
    world = World()
    found = world.measure(world.spend("b", 0.0021), world.spend("c", contender), ignore_below=0.001)
    assert found.outcome is Outcome.MISSED


def test_a_difference_on_the_edge_stays_undecided() -> None:
    """As long as it is not sure whether the difference matters, the gate does not fail."""
    world = World()
    noisy = (0.0022, 0.0032)
    found = world.measure(
        world.spend("b", *noisy), world.spend("c", 0.001), ignore_below=0.0015, max_seconds=1
    )
    assert found.outcome is Outcome.UNDECIDED
    assert found.rounds > 100


def test_speedup_fails_with_the_whole_story() -> None:
    """An assertion error: ratio, interval, rounds, both medians and a histogram."""
    world = World()
    with pytest.raises(SpeedupError) as caught:
        speedup(
            world.spend("b", *(0.07 + 0.001 * i for i in range(7))),
            world.spend("c", 0.01),
            at_least=10,
            timer=world.clock,
            clock=world.clock,
            collect=lambda: None,
        )
    assert isinstance(caught.value, AssertionError)
    assert caught.value.outcome == "missed"
    text = str(caught.value)
    assert text.startswith("missed: 7.")
    assert "at least 10 is asked" in text
    assert "10 rounds" in text
    assert "baseline " in text
    assert "72.5 ms median (70 ms to 76 ms)" in text
    assert "10 ms median" in text
    assert "##" in text


def test_speedup_returns_what_it_found() -> None:
    """Where it passes, with the samples of all rounds."""
    world = World()
    found = speedup(
        world.spend("b", 1 / 8),
        world.spend("c", 1 / 1024),
        at_least=100,
        timer=world.clock,
        clock=world.clock,
    )
    assert found.ratio == 128
    assert found.baseline == (1 / 8,) * 10
    assert found.contender == (1 / 1024,) * 10


# ------------------------------------------------------------------------------ fairness


def test_the_order_is_random_and_each_round_has_both() -> None:
    """Neither is always first; with equal costs both are called once in a round."""
    world = World()
    world.measure(world.spend("b", 0.3), world.spend("c", 0.3), at_least=1, max_seconds=60)
    rounds = ["".join(pair) for pair in zip(world.calls[2::2], world.calls[3::2], strict=True)]
    assert len(rounds) == 100
    assert set(rounds) == {"bc", "cb"}
    assert 20 < rounds.count("bc") < 80


def test_a_quick_contender_is_sampled_more_often() -> None:
    """A hundredth of the cost: nine times in a round; its median is the round's."""
    world = World()
    found = world.measure(world.spend("b", 1.0), world.spend("c", *[0.01] * 8, 5.0), max_seconds=60)
    assert world.calls.count("c") == 1 + 9 * found.rounds
    assert world.calls.count("b") == 1 + found.rounds
    assert found.contender == pytest.approx([0.01] * found.rounds)


def test_a_drift_does_not_change_the_ratio() -> None:
    """A machine that becomes slower in every round is slower for both."""
    world = World()
    slower = [1.0]

    def spend(seconds: float) -> None:
        slower[0] *= 1.01
        world.now += seconds * slower[0]

    found = world.measure(lambda: spend(0.012), lambda: spend(0.001))
    assert found.outcome is Outcome.REACHED
    assert found.ratio == pytest.approx(12, rel=0.05)
    assert found.baseline[-1] > 1.2 * found.baseline[0]


# ------------------------------------------------------------------------------ samples


def test_each_call_has_its_own_untimed_setup() -> None:
    """Before every call, of its own side, and no part of the ratio."""
    world = World()
    found = world.measure(
        world.spend("b", 0.5),
        world.spend("c", 0.004),
        baseline_setup=world.spend("setup b", 0.25),
        contender_setup=world.spend("setup c", 0.25),
        at_least=100,
        max_seconds=60,
    )
    assert found.outcome is Outcome.REACHED
    assert found.ratio == pytest.approx(125)
    pairs = set(zip(world.calls[::2], world.calls[1::2], strict=True))
    assert pairs == {("setup b", "b"), ("setup c", "c")}


@pytest.mark.parametrize("setup", [None, lambda: None], ids=["plain", "with-setup"])
def test_a_quick_function_is_called_until_a_sample_is_long_enough(setup: Any) -> None:
    """A microsecond a thousand times and more, so that the timer resolves it."""
    world = World()
    found = world.measure(
        world.spend("b", 2e-5), world.spend("c", 1e-6), contender_setup=setup, baseline_setup=setup
    )
    assert found.outcome is Outcome.REACHED
    assert found.ratio == pytest.approx(20)
    assert world.calls.count("c") > found.rounds * SAMPLE / 1e-6


def test_what_calling_costs_is_not_in_the_ratio() -> None:
    """A timer that takes a fifth of the contender's time: the ratio is that of the functions."""
    world = World(tick=2e-5)
    found = world.measure(
        world.spend("b", 2e-3),
        world.spend("c", 1e-4),
        baseline_setup=lambda: None,
        contender_setup=lambda: None,
    )
    assert found.ratio == pytest.approx(20)


def test_a_contender_that_does_nothing_has_a_finite_ratio() -> None:
    """No time is measured as a nanosecond, and the search for a longer sample ends."""
    world = World(tick=1e-5)
    found = world.measure(world.spend("b", 0.1), lambda: None)
    assert found.outcome is Outcome.REACHED
    assert found.ratio == pytest.approx(1e8)


def test_a_setup_that_takes_long_does_not_multiply() -> None:
    """A sample is not made of a thousand calls where each needs a slow setup."""
    world = World()
    found = world.measure(
        world.spend("b", 1e-5), world.spend("c", 1e-6), contender_setup=world.spend("s", 0.06)
    )
    assert found.rounds >= 10
    assert world.calls.count("s") < 10 / 0.06 + 10


# ------------------------------------------------------------------------------ the collector


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_off_meanwhile_and_then_as_before(enabled: bool) -> None:
    """Also where a function fails; a collector that the user had switched off stays off."""
    seen = []
    world = World()
    spend = world.spend("c", 0.01)

    def contender() -> None:
        seen.append(gc.isenabled())
        spend()

    def fails() -> None:
        raise LookupError("by the baseline")

    (gc.enable if enabled else gc.disable)()
    try:
        world.measure(world.spend("b", 1.0), contender, max_seconds=60)
        with pytest.raises(LookupError, match="by the baseline"):
            world.measure(fails, contender)
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert seen
    assert not any(seen)


def test_what_a_call_leaves_in_cycles_is_freed_before_the_next_sample() -> None:
    """Models hold cycles: without this a gate of cold loads would fill the memory."""
    import weakref

    class Model:
        pass

    kept: list[Any] = []
    alive: list[weakref.ref[Model]] = []
    most = 0
    world = World()

    def load() -> None:
        nonlocal most
        model: Any = Model()
        model.parts = [[model] for _ in range(1000)]
        kept.append(model)
        alive.append(weakref.ref(model))
        most = max(most, sum(one() is not None for one in alive))
        world.now += 1.0

    measure(
        load,
        world.spend("c", 0.01),
        at_least=10,
        baseline_setup=kept.clear,
        max_seconds=60,
        timer=world.clock,
        clock=world.clock,
    )
    assert len(alive) == 11
    assert most <= 2


# ------------------------------------------------------------------------------ bad numbers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("at_least", 0.0),
        ("at_least", float("nan")),
        ("max_seconds", -1.0),
        ("max_seconds", float("inf")),
        ("ignore_below", -0.001),
    ],
)
def test_a_number_that_is_no_bound_is_an_error(name: str, value: float) -> None:
    """Before anything is called."""
    world = World()
    with pytest.raises(SettingsError, match=rf"{name} = .*give a number"):
        world.measure(world.spend("b", 1), world.spend("c", 1), **{name: value})
    assert world.calls == []
