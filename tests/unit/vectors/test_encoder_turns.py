"""One model is used by one thread at a time: its tokenizer is not safe in several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.encoders import right, world
from support.toys import DEADLOCK, Gate, start


def test_a_model_never_encodes_twice_at_once() -> None:
    """Its tokenizer is not safe in threads: misses take turns, straight calls among them."""
    w = world()
    inside, most, lock = [0], [0], threading.Lock()

    def enter(texts: Sequence[str]) -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])

    def leave(texts: Sequence[str]) -> None:
        with lock:
            inside[0] -= 1

    w.inner().before, w.inner().after = enter, leave
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(w.model().encode, [str(n)], output_value=output)
            for n in range(100)
            for output in ("sentence_embedding", None)
        ]
        for call in calls:
            call.result()
    assert most == [1]
    assert len(w.batches()) == 200


class Watched:
    """A lock that says when somebody asks for it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.asked = threading.Event()

    def __enter__(self) -> None:
        self.asked.set()
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.encode(["b"], output_value=None),
        lambda model: model.encode(["b"]),
        lambda model: model.tokenize(["b"]),
        lambda model: setattr(model, "max_seq_length", 5),
        lambda model: model.prompts.update(query="x: "),
        lambda model: model.unwrap(copy=True),
    ],
    ids=["straight", "miss", "tokenizer", "state", "prompts", "copy"],
)
def test_what_uses_or_changes_the_model_waits_for_the_work_under_way(
    use: Callable[[Any], object],
) -> None:
    """It asks for the model's lock, which the work holds until it is done."""
    w = world()
    gate = Gate()
    w.inner().before = gate
    working = start(lambda: w.model().encode(["a"]))
    assert gate.reached.wait(DEADLOCK)
    handle = w.model()._source.load()
    handle.encoding = watched = Watched(handle.encoding)  # type: ignore[assignment]
    w.inner().before = lambda texts: None
    using = start(lambda: use(w.model()))
    assert watched.asked.wait(DEADLOCK)
    assert not using.done()
    gate.open.set()
    assert working.result(DEADLOCK).tobytes() == right(["a"])
    using.result(DEADLOCK)
