"""Many callers of one model at once: each text is computed once, and nobody is let down."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.encoders import Files, PureBackend, World, right, world
from support.toys import DEADLOCK, Gate, start

from pytest_embedcache.vectors import encoder
from pytest_embedcache.vectors.memory import MemoryStore

THREADS = 32


def claimed(w: World, count: int) -> threading.Event:
    """Set as soon as `count` calls have claimed what they miss, to compute it or to wait for it."""
    everybody, lock, seen = threading.Event(), threading.Lock(), [0]
    claim = w.cache.flights.claim

    def counting(*args: Any) -> Any:
        found = claim(*args)
        with lock:
            seen[0] += 1
            if seen[0] == count:
                everybody.set()
        return found

    w.cache.flights.claim = counting  # type: ignore[method-assign]
    return everybody


def await_all(event: threading.Event) -> None:
    assert event.wait(DEADLOCK)


def test_a_text_that_all_miss_at_once_is_computed_once() -> None:
    """32 threads ask for the same three texts while none is stored: the model sees them once."""
    w = world()
    gate = Gate()
    w.inner().before = gate
    everybody = claimed(w, THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        found = [pool.submit(w.model().encode, ["a", "b", "c"]) for _ in range(THREADS)]
        await_all(everybody)
        gate.open.set()
        assert {future.result().tobytes() for future in found} == {right(["a", "b", "c"])}
    assert len(w.batches()) == 1
    tally = w.tally()
    assert (tally["asked"], tally["computed"], tally["shared"]) == (96, 3, 93)


def test_each_waits_only_for_what_another_computes() -> None:
    """Overlapping calls split the work: every text reaches the model once, in either call."""
    w = world()
    gate = Gate()
    w.inner().before = gate
    both = claimed(w, 2)
    one = start(lambda: w.model().encode(["a", "b", "c"]))
    await_all(gate.reached)
    other = start(lambda: w.model().encode(["b", "c", "d"]))
    await_all(both)
    gate.open.set()
    assert one.result(DEADLOCK).tobytes() == right(["a", "b", "c"])
    assert other.result(DEADLOCK).tobytes() == right(["b", "c", "d"])
    assert sorted(text for batch in w.batches() for text in batch) == ["a", "b", "c", "d"]


def test_those_who_wait_get_arrays_of_their_own() -> None:
    """Writing into one caller's result changes no other's."""
    w = world()
    gate = Gate()
    w.inner().before = gate
    both = claimed(w, 2)
    results = [start(lambda: w.model().encode(["a"])) for _ in range(2)]
    await_all(both)
    gate.open.set()
    one, other = (result.result(DEADLOCK) for result in results)
    one[:] = 7
    assert other.tobytes() == w.model().encode(["a"]).tobytes() == right(["a"])


def test_what_landed_between_the_look_and_the_claim_is_not_computed_again() -> None:
    """A caller who missed, and is overtaken before he claims, finds it in the store."""
    looked, go_on = threading.Event(), threading.Event()

    class SlowToReturn(MemoryStore):
        def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
            found = super().get_many(fingerprint, keys)
            if threading.current_thread() is not threading.main_thread() and not looked.is_set():
                looked.set()
                assert go_on.wait(DEADLOCK)
            return found

    w = world(SlowToReturn())
    slow = start(lambda: w.model().encode(["a", "b"]))
    await_all(looked)
    w.model().encode(["a"])
    go_on.set()
    assert slow.result(DEADLOCK).tobytes() == right(["a", "b"])
    assert w.batches() == [["a"], ["b"]]


def test_one_bad_text_fails_only_those_who_asked_for_it() -> None:
    """A pilot whose batch fails takes nobody with him: who waited computes for himself."""
    w = world()
    gate = Gate()

    def refuse(texts: Sequence[str]) -> None:
        gate()
        if "bad" in texts:
            raise ValueError("this text is bad")

    w.inner().before = refuse
    everybody = claimed(w, 4)
    pilot = start(lambda: w.model().encode(["good", "bad"]))
    await_all(gate.reached)
    waiters = [start(lambda: w.model().encode(["good"])) for _ in range(2)]
    unlucky = start(lambda: w.model().encode(["bad"]))
    await_all(everybody)
    gate.open.set()
    for future in (pilot, unlucky):
        with pytest.raises(ValueError, match="this text is bad"):
            future.result(DEADLOCK)
    assert [f.result(DEADLOCK).tobytes() for f in waiters] == [right(["good"])] * 2
    assert w.tally()["computed"] == 1


def test_an_interrupt_while_vectors_land_leaves_nobody_waiting() -> None:
    """Control-C between two landings of one slice: no key stays claimed."""
    w = world()
    land, calls = w.cache.flights.land, [0]

    def interrupted(*args: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        land(*args)

    w.cache.flights.land = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        w.model().encode(["a", "b", "c"])
    mine: list[bytes] = []
    w.cache.flights.claim(w.model().fingerprint, w.model().keys(["a", "b", "c"]), mine)
    assert len(mine) == 3


def test_an_interrupted_pilot_is_replaced() -> None:
    """Control-C in the thread that computes is no error of those who wait for it."""
    w = world()
    gate = Gate()

    def interrupt(texts: Sequence[str]) -> None:
        gate()
        if len(w.batches()) == 1:
            raise KeyboardInterrupt

    w.inner().before = interrupt
    both = claimed(w, 2)
    pilot = start(lambda: w.model().encode(["a"]))
    await_all(gate.reached)
    waiter = start(lambda: w.model().encode(["a"]))
    await_all(both)
    gate.open.set()
    with pytest.raises(KeyboardInterrupt):
        pilot.result(DEADLOCK)
    assert waiter.result(DEADLOCK).tobytes() == right(["a"])


def test_a_finished_slice_is_there_for_others_before_the_work_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who waits for a text of the first slice goes on while the second is being computed."""
    monkeypatch.setattr(encoder, "SLICE", 2)
    w = world()
    first, second = Gate(), Gate()
    w.inner().before = lambda texts: (first if len(w.batches()) == 1 else second)()
    both = claimed(w, 2)
    long = start(lambda: w.model().encode(["aaaa", "bbb", "cc", "d"]))
    await_all(first.reached)
    waiter = start(lambda: w.model().encode(["aaaa"]))
    await_all(both)
    first.open.set()
    await_all(second.reached)
    assert waiter.result(DEADLOCK).tobytes() == right(["aaaa"])
    assert not long.done()
    second.open.set()
    assert long.result(DEADLOCK).tobytes() == right(["aaaa", "bbb", "cc", "d"])


def test_two_models_encode_at_once() -> None:
    """One model's work does not wait for another's."""
    w = World(PureBackend(m=Files(), n=Files(weights="other")))
    together = threading.Barrier(2, timeout=DEADLOCK)
    for name in "mn":
        w.inner(name).before = lambda texts: together.wait()
    results = [start(lambda name=name: w.model(name).encode(["a"])) for name in "mn"]
    found = [result.result(DEADLOCK).tobytes() for result in results]
    assert found == [right(["a"]), right(["a"], weights="other")]


def test_a_state_that_is_set_waits_for_the_work_under_way() -> None:
    """It is no part of a batch: that is computed as the model was when it began."""
    w = world()
    gate = Gate()
    w.inner().before = gate
    old = start(lambda: w.model().encode(["a"]))
    await_all(gate.reached)
    model = w.model()
    setting = start(lambda: setattr(model, "max_seq_length", 5))
    assert w.inner().max_seq_length == 64
    gate.open.set()
    setting.result(DEADLOCK)
    assert old.result(DEADLOCK).tobytes() == right(["a"])
    assert model.encode(["a"]).tobytes() == right(["a"], max_seq_length=5)
    model.max_seq_length = 64
    assert model.encode(["a"]).tobytes() == right(["a"])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_state_that_changes_in_the_middle_of_work_spoils_no_key(when: str) -> None:
    """Whoever holds the bare model can change it at any moment; the work is then done anew."""
    store = MemoryStore()
    w = world(store)

    def change(texts: Sequence[str]) -> None:
        w.inner().max_seq_length = 5

    setattr(w.inner(), when, change)
    assert w.model().encode(["a"]).tobytes() == right(["a"], max_seq_length=5)
    assert World(w.backend, store).model().encode(["a"]).tobytes() == right(["a"])


def test_a_model_handed_out_in_the_middle_of_work_stores_nothing() -> None:
    """What was computed meanwhile may be the changed model's, and is not written."""
    store = MemoryStore()
    w = world(store)

    def hand_out(texts: Sequence[str]) -> None:
        w.model().unwrap().weights = "changed"

    w.inner().after = hand_out
    assert w.model().encode(["a"]).tobytes() == right(["a"], weights="changed")
    assert store.stats().entries == 0
    assert w.tally()["untrusted"] == 1
