"""Whose threads wait for what: nobody's for another one's model, and at the end not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.encoders import Files, PureBackend, World, right
from support.serving import Serving, eventually, serving
from support.toys import DEADLOCK, Gate

from pytest_embedcache.errors import ServiceClosedError, TooManyWaitingError
from pytest_embedcache.service.results import GivenUp
from pytest_embedcache.service.threads import AT_ONCE, Threads

SLOW = '[models.slow]\nbackend = "pure"\ndimension = 8\n'


def with_slow() -> World:
    """The models `m` and `slow`."""
    return World(PureBackend(m=Files(), slow=Files(weights="s")))


@contextmanager
def standing(s: Serving, calls: int) -> Iterator[tuple[Gate, list[Any]]]:
    """A gate at which `slow` stands, and so many calls before it, each in a lane of its own.

    At the end it is open.
    """
    gate = Gate()
    s.w.inner("slow").before = gate
    start = s.service._calls.embed_batch
    try:
        waiting = [start([f"{i}"], model="slow", batch_size=i + 1) for i in range(calls)]
        models = s.service._calls.models
        eventually(lambda: any(len(one._lanes) == calls for one in models.all()))
        eventually(lambda: len(s.service._calls._threads._at_work) == calls)  # none looks any more
        assert gate.reached.wait(DEADLOCK)
        yield gate, waiting
    finally:
        gate.open.set()


def test_a_model_that_stands_still_holds_up_no_other(tmp_path: Path) -> None:
    """Nor what is stored; though more calls wait for it than a service has threads."""
    with serving(tmp_path, with_slow(), table=SLOW) as s:
        known = [f"known {i}" for i in range(200)]
        s.sync.embed_batch(known)
        with standing(s, 40) as (gate, waiting):
            asked = s.service._calls
            assert asked.embed_text(known[0]).result(DEADLOCK).cached
            assert asked.embed_batch(known).result(DEADLOCK).cached_count == 200
            assert asked.embed_text("new").result(DEADLOCK).embedding.tobytes() == right(["new"])
            gate.open.set()
            found = [one.result(DEADLOCK).embeddings.tobytes() for one in waiting]
            assert found == [right([f"{i}"], weights="s") for i in range(40)]


def test_no_model_has_more_threads_than_it_may_be_asked_at_once(tmp_path: Path) -> None:
    """However many batch sizes there are."""
    with serving(tmp_path, with_slow(), table=SLOW) as s:
        before = threading.active_count()
        with standing(s, 2 * AT_ONCE) as (gate, waiting):
            assert threading.active_count() - before <= AT_ONCE + 4
            gate.open.set()
            for one in waiting:
                one.result(DEADLOCK)


def test_what_waits_for_one_model_is_no_bound_for_another(tmp_path: Path) -> None:
    """`max_waiting` is of each."""
    w = with_slow()
    with (
        serving(tmp_path, w, table=SLOW, max_waiting=2) as s,
        standing(s, 1) as (gate, waiting),
    ):
        full = s.service._calls.embed_batch(["a", "b"], model="slow", batch_size=1)
        eventually(lambda: s.service.queued == 2)
        with pytest.raises(TooManyWaitingError):
            s.sync.embed_text("c", model="slow", use_cache=True)
        found = s.service._calls.embed_text("new").result(DEADLOCK)
        assert found.embedding.tobytes() == right(["new"])
        gate.open.set()
        for one in (*waiting, full):
            one.result(DEADLOCK)


def test_a_close_gives_up_in_time_and_says_what(tmp_path: Path) -> None:
    """Who waits is told; nothing is accepted any more; what comes too late changes nothing."""
    with serving(tmp_path, with_slow(), table=SLOW) as s, standing(s, 2) as (gate, waiting):
        assert s.service.close(timeout=0.0) == GivenUp(calls=2, batches=2)
        for one in waiting:
            with pytest.raises(ServiceClosedError):
                one.result(0)
        with pytest.raises(ServiceClosedError):
            s.sync.embed_text("known")
        assert s.service.close(timeout=0.0) == GivenUp(0, 0)
        gate.open.set()


def test_a_close_with_time_enough_gives_nothing_up(tmp_path: Path) -> None:
    """It ends when the last call has ended."""
    with serving(tmp_path) as s:
        asked = [s.service._calls.embed_text(f"{i}") for i in range(9)]
        assert s.service.close(timeout=DEADLOCK) == GivenUp(0, 0)
        assert all(one.done() for one in asked)


def test_threads_end_after_what_their_work_has_started() -> None:
    """And with a bound they are left to themselves, and start nothing more."""
    threads, done = Threads(), []

    def more() -> None:
        if len(done) < 5:
            done.append(1)
            threads.start("m", more)

    threads.start("m", more)
    assert (threads.close(None), len(done)) == (0, 5)
    threads, gate = Threads(), Gate()
    threads.start("m", gate)
    assert threads.close(time.monotonic()) == 1
    with pytest.raises(RuntimeError, match="ended"):
        threads.start("other", more)
    gate.open.set()
