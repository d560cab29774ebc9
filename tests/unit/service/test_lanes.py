"""Texts that travel together: who is spoilt by a refused one, and who is not."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pytest_embedcache.errors import ProviderError
from pytest_embedcache.service.lanes import Lane
from pytest_embedcache.vectors.apart import Tokens


class Caller:
    """As much of a request as a lane uses."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.paid: list[str] = []
        self.errors: list[BaseException] = []
        self.exact = True
        self.wanted = 0

    @property
    def is_given_up(self) -> bool:
        """As of a request: also once it has all that it wanted."""
        return bool(self.errors) or len(self.rows) == self.wanted

    def take(self, rows: Mapping[str, Any], sent: Mapping[str, int | None], *, exact: bool) -> None:
        assert not self.rows.keys() & rows.keys(), "delivered twice"
        self.rows.update(rows)
        self.paid += sent
        self.exact = self.exact and exact

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)


class Provider:
    """Refuses whatever has `bad` in it."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []

    def encode(self, texts: list[str], sent: Tokens) -> np.ndarray:
        self.sent.append(texts)
        if "bad" in texts:
            raise ProviderError("m", "it does not take a text", "Look at it.", 400)
        sent.update(dict.fromkeys(texts, 1))
        return np.zeros((len(texts), 2), np.float32)


class ByText(Provider):
    """Takes each text in a request of its own, and has its vector from then on."""

    def encode(self, texts: list[str], sent: Tokens) -> np.ndarray:
        stored = {text for before in self.sent for text in before} - {"bad"}
        for text in texts:
            if text not in stored:
                super().encode([text], sent)
        return np.zeros((len(texts), 2), np.float32)


def delivered(
    *wanted: list[str], provider: Provider | None = None
) -> tuple[list[Caller], Provider, Lane]:
    """Calls that arrive together, once all is over."""
    provider = provider or Provider()
    started: list[Any] = []
    lane = Lane(
        provider.encode, started.append, most=100, at_once=1, max_wait=0.0, report=lambda *_: None
    )
    callers = [Caller() for _ in wanted]
    for caller, texts in zip(callers, wanted, strict=True):
        caller.wanted = len(texts)
        lane.add(caller, texts)  # type: ignore[arg-type]
    (run,) = started
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return callers, provider, lane


def test_a_refused_text_fails_its_own_call_alone() -> None:
    """Others that share texts have each of them once; nothing is left behind in the lane."""
    (one, both, bad), provider, lane = delivered(["hello"], ["hello", "world"], ["bad"])
    assert one.rows.keys() == {"hello"}
    assert both.rows.keys() == {"hello", "world"}
    assert not one.errors
    assert not both.errors
    assert [type(error) for error in bad.errors] == [ProviderError]
    assert sorted(one.paid + both.paid) == ["hello", "world"]
    assert sorted(text for texts in provider.sent[1:] for text in texts) == [
        "bad",
        "hello",
        "world",
    ]
    assert lane._entries == {}


def test_a_good_text_of_a_refused_call_is_there_for_others() -> None:
    """Also where the call that was refused would have paid for it."""
    (spoilt, other), _, lane = delivered(["bad", "hello"], ["hello"])
    assert [type(error) for error in spoilt.errors] == [ProviderError]
    assert other.rows.keys() == {"hello"}
    assert not other.errors
    assert lane._entries == {}


def test_what_fails_unexpectedly_fails_all_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of our own leaves no text to which a later call would attach itself."""
    monkeypatch.setattr(Caller, "take", lambda *_, **__: 1 / 0)
    callers, _, lane = delivered(["a"], ["b"])
    assert all(isinstance(caller.errors[0], ZeroDivisionError) for caller in callers)
    assert lane._entries == {}


def test_a_lane_that_got_no_thread_leaves_nobody_waiting() -> None:
    """Whoever waits for it is told, also who came meanwhile; the next call begins anew."""
    provider, error = Provider(), RuntimeError("no thread")
    started: list[Any] = []
    first, meanwhile, second = Caller(), Caller(), Caller()
    first.wanted = meanwhile.wanted = second.wanted = 1

    def start(run: Any) -> None:
        if not first.errors:
            lane.add(meanwhile, ["b"])  # type: ignore[arg-type]
            raise error
        started.append(run)

    lane = Lane(provider.encode, start, most=100, at_once=1, max_wait=0.0, report=lambda *_: None)
    lane.add(first, ["a"])  # type: ignore[arg-type]
    assert (first.errors, meanwhile.errors) == ([error], [error])
    assert (lane._entries, lane.queued, started) == ({}, 0, [])
    lane.add(second, ["a"])  # type: ignore[arg-type]
    started[0]()
    assert second.rows.keys() == {"a"}


def three_waiting(*, threads: int) -> tuple[Provider, Lane, Caller, list[Any]]:
    """Three texts of one caller, a batch each; the last are the threads, which do not run yet.

    There are so many, and no more.
    """
    provider, caller = Provider(), Caller()
    started: list[Any] = []

    def start(run: Any) -> None:
        if len(started) == threads:
            raise RuntimeError("no thread")
        started.append(run)

    lane = Lane(provider.encode, start, most=1, at_once=2, max_wait=0.0, report=lambda *_: None)
    caller.wanted = 3
    lane.add(caller, ["a", "b", "c"])  # type: ignore[arg-type]
    return provider, lane, caller, started


def test_what_got_no_thread_is_for_those_that_run() -> None:
    """It goes with their next batch."""
    provider, lane, caller, started = three_waiting(threads=1)
    started[0]()
    assert (provider.sent, caller.errors) == ([["a"], ["b"], ["c"]], [])
    assert (lane._running, lane.queued) == (0, 0)


def test_what_was_sent_before_a_refusal_is_paid_by_who_gets_it() -> None:
    """Stored then, and not sent again; that it was counted with others' texts, the bill says."""
    (good, bad), provider, _ = delivered(["hello"], ["bad"], provider=ByText())
    assert provider.sent == [["hello"], ["bad"], ["bad"]]
    assert (good.paid, good.exact) == (["hello"], False)
    assert [type(error) for error in bad.errors] == [ProviderError]


def test_after_each_batch_it_is_the_turn_of_another_lane() -> None:
    """What goes on waits for a thread like all others; without one it goes on in its own."""
    provider, lane, _, started = three_waiting(threads=3)
    started[0]()
    assert (provider.sent, len(started)) == ([["a"]], 3)
    started[1]()
    assert provider.sent == [["a"], ["b"], ["c"]]
    started[2]()
    assert (lane._running, lane.queued) == (0, 0)


def test_a_model_that_takes_one_batch_at_a_time_stays_in_its_thread() -> None:
    """Until nothing waits."""
    provider = Provider()
    started: list[Any] = []
    lane = Lane(
        provider.encode, started.append, most=1, at_once=1, max_wait=0.0, report=lambda *_: None
    )
    caller = Caller()
    caller.wanted = 3
    lane.add(caller, ["a", "b", "c"])  # type: ignore[arg-type]
    started[0]()
    assert (provider.sent, len(started)) == ([["a"], ["b"], ["c"]], 1)
    assert (lane._running, lane.queued) == (0, 0)
