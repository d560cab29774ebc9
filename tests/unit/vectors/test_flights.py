"""Who computes what now: each vector one pilot, and nobody waits for a pilot that is gone."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from pytest_embedcache.vectors import forking
from pytest_embedcache.vectors.flights import Flights

MODEL, OTHER = "0" * 64, "1" * 64
VECTOR = np.ones(4, np.float32)


def claim(flights: Flights, *keys: bytes, model: str = MODEL) -> tuple[list[bytes], list[bytes]]:
    """(claimed, flown by others)."""
    mine: list[bytes] = []
    others, _ = flights.claim(model, keys, mine)
    return mine, list(others)


def test_the_first_to_claim_a_key_is_its_only_pilot() -> None:
    """A second claim gets the flights of the keys that are under way, and the rest for itself."""
    flights = Flights()
    assert claim(flights, b"a", b"b") == ([b"a", b"b"], [])
    assert claim(flights, b"b", b"c") == ([b"c"], [b"b"])


def test_a_key_of_another_model_is_another_flight() -> None:
    """Equal keys under two fingerprints do not wait for each other."""
    flights = Flights()
    claim(flights, b"a")
    assert claim(flights, b"a", model=OTHER) == ([b"a"], [])


def test_a_landing_brings_the_vector_to_whoever_waits() -> None:
    """The flight has landed, with the pilot's vector, and the key can be claimed again."""
    flights = Flights()
    claim(flights, b"a")
    others, _ = flights.claim(MODEL, [b"a"], [])
    assert not others[b"a"].landed.is_set()
    flights.land(MODEL, b"a", VECTOR)
    assert others[b"a"].landed.is_set()
    assert others[b"a"].vector is VECTOR
    assert claim(flights, b"a") == ([b"a"], [])


def test_a_pilot_that_failed_leaves_no_vector_and_frees_the_key() -> None:
    """Whoever waited sees None, and can claim the key himself."""
    flights = Flights()
    claim(flights, b"a")
    others, _ = flights.claim(MODEL, [b"a"], [])
    flights.land(MODEL, b"a", None)
    assert others[b"a"].landed.is_set()
    assert others[b"a"].vector is None
    assert claim(flights, b"a") == ([b"a"], [])


def test_landings_tell_whether_to_look_into_the_store_again() -> None:
    """Only a flight that brought a vector home counts, and a claim says how many there were."""
    flights = Flights()
    claim(flights, b"a", b"b")
    flights.land(MODEL, b"a", None)
    assert flights.claim(MODEL, [b"c"], [])[1] == 0
    flights.land(MODEL, b"b", VECTOR)
    assert flights.claim(MODEL, [b"d"], [])[1] == flights.landings == 1


def test_a_claim_that_is_interrupted_can_be_landed() -> None:
    """What was claimed is in the caller's list, also when the claim itself did not come back."""
    flights = Flights()
    mine: list[bytes] = []

    def keys():
        yield b"a"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flights.claim(MODEL, keys(), mine)
    assert mine == [b"a"]
    flights.land(MODEL, b"a", None)
    assert claim(flights, b"a") == ([b"a"], [])


def test_landing_twice_is_landing_once() -> None:
    """The second landing disturbs neither those who waited nor a new flight's pilot."""
    flights = Flights()
    claim(flights, b"a")
    others, _ = flights.claim(MODEL, [b"a"], [])
    flights.land(MODEL, b"a", VECTOR)
    flights.land(MODEL, b"a", None)
    assert others[b"a"].vector is VECTOR


def test_of_many_threads_exactly_one_flies_each_key() -> None:
    """However 32 threads claim 100 keys, each key is claimed once."""
    flights = Flights()
    keys = [b"%d" % number for number in range(100)]
    ready = threading.Barrier(32)
    claimed: list[list[bytes]] = [[] for _ in range(32)]

    def work(number: int) -> None:
        ready.wait()
        flights.claim(MODEL, keys[number:] + keys[:number], claimed[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for one in claimed for key in one) == sorted(keys)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # 3.12 and later
def test_a_forked_child_waits_for_nobody() -> None:
    """In the child every key can be claimed, whoever flies it in the parent."""
    flights = Flights()
    forking.tell(flights)
    pilot = threading.Thread(target=claim, args=(flights, b"a"))
    pilot.start()
    pilot.join()
    child = os.fork()
    if child == 0:
        os._exit(0 if claim(flights, b"a") == ([b"a"], []) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert claim(flights, b"a") == ([], [b"a"])
