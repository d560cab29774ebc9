"""A model that is unloaded: never under its users, never a changed one, and the same afterwards."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.children import python
from support.encoders import Files, PureBackend, PureModel, right
from support.letting_go import is_let_go
from support.toys import DEADLOCK, Gate, ToyBackend, start

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.errors import SettingsError
from pytest_embedcache.models import freed
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.idle import IdleUnloader, default_idle_timeout, read_timeout
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.tiered import TieredStore

THREADS = 64


class Clock:
    """Goes on when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Idling:
    """A registry of one pure model `m` with a timeout, its clock, and its unloader."""

    def __init__(self, idle_timeout: float | None, *, live: bool = False) -> None:
        self.backend = PureBackend(m=Files())
        self.clock = Clock()
        self.unloader = IdleUnloader(self.clock, thread=False)
        self.registry = ModelRegistry(
            backends={"pure": self.backend}, idle_timeout=idle_timeout, unloader=self.unloader
        )
        self.cache = VectorCache(None if live else TieredStore([MemoryStore()]))
        self.spec = ModelSpec("m", backend="pure", device="cpu")
        self.model = CachedModel(self.registry, self.spec, self.cache)

    @property
    def handle(self) -> ModelHandle:
        return self.registry.handle(self.spec)

    def after(self, seconds: float) -> float | None:
        """Let time go by, and have what is due unloaded."""
        self.clock.now += seconds
        return self.unloader.sweep()


# ------------------------------------------------------------------------------ unload()


def test_an_unloaded_model_is_gone_and_the_next_use_loads_it_again() -> None:
    """Nobody holds it, its memory was given back, and the vectors are the same to the bit."""
    w = Idling(-1, live=True)
    before = w.model.encode(["a", "b"])
    model = weakref.ref(w.handle.model)
    assert w.handle.unload() is True
    assert model() is None
    assert (w.handle.is_loaded, w.model.is_loaded, w.handle.unload()) == (False, False, False)
    assert w.model.encode(["a", "b"]).tobytes() == before.tobytes() == right(["a", "b"])
    assert w.backend.loads == ["m", "m"]
    counts = w.registry.stats().models[0]
    assert (counts.loads, counts.unloads, counts.evictions) == (2, 1, 0)


def test_a_model_that_somebody_still_has_is_found_again_and_not_loaded_twice() -> None:
    """Who has it bare keeps it; the next use is of the same object."""
    w = Idling(-1)
    bare = w.registry.get(w.spec)
    assert w.handle.unload() is True
    assert w.handle.model is None
    assert w.registry.get(w.spec) is bare
    assert w.backend.loads == ["m"]


def test_a_model_is_not_unloaded_while_somebody_encodes() -> None:
    """Not by whoever asks, not by its own thread, and not while it loads."""
    w, gate = Idling(-1, live=True), Gate()
    w.backend.on_load = lambda name: answers.append(w.handle.unload())
    answers: list[bool] = []
    w.model.encode("before")
    inner: PureModel = w.handle.model
    inner.before = gate
    encoding = start(lambda: w.model.encode(["a"]))
    assert gate.reached.wait(DEADLOCK)
    assert w.handle.unload() is False
    assert w.handle.model is inner
    gate.open.set()
    assert encoding.result(DEADLOCK).tobytes() == right(["a"])
    inner.before = lambda texts: answers.append(w.handle.unload(timeout=DEADLOCK))
    w.model.encode(["b"])
    assert answers == [False, False]
    inner.before = lambda texts: None
    assert w.handle.unload() is True


def test_an_unload_waits_for_those_who_are_inside_and_lets_nobody_else_in() -> None:
    """The call under way ends with its model; the next one waits, and gets a new one."""
    w, gate = Idling(-1, live=True), Gate()
    w.model.encode("before")
    w.handle.model.before = gate
    first = start(lambda: w.model.encode(["a"]))
    assert gate.reached.wait(DEADLOCK)
    assert w.handle.unload(timeout=0.001) is False
    unloading = start(lambda: w.handle.unload(timeout=DEADLOCK))
    while not w.handle._in_flight._waiting:  # there is nothing to be told by
        pass
    second = start(lambda: w.model.encode(["b"]))
    gate.open.set()
    assert first.result(DEADLOCK).tobytes() == right(["a"])
    assert unloading.result(DEADLOCK) is True
    assert second.result(DEADLOCK).tobytes() == right(["b"])
    assert w.backend.loads == ["m", "m"]


@pytest.mark.parametrize(
    "change",
    [
        lambda w: setattr(w.model, "max_seq_length", 7),
        lambda w: w.model.prompts.update(query="q: "),
        lambda w: w.model.unwrap(),
        lambda w: w.model.half(),
    ],
    ids=["max_seq_length", "prompts", "unwrap", "half"],
)
def test_a_model_that_was_changed_stays(change: Callable[[Idling], object]) -> None:
    """From its files would come another one, whose vectors are not what its owner expects."""
    w = Idling(60, live=True)
    change(w)
    assert w.handle.is_loaded
    assert w.handle.unload() is False
    w.after(61)
    assert w.handle.is_loaded
    assert w.backend.loads == ["m"]


def test_a_branch_that_moved_meanwhile_is_still_the_model_that_it_was() -> None:
    """A spelling that was resolved once is not resolved anew because of an unload."""
    backend = ToyBackend()
    registry = ModelRegistry(backends={"torch": backend})
    registry.get("x")
    asked = len(backend.prepared)
    assert registry.handle("x").unload()
    registry.get("x")
    assert len(backend.prepared) == asked
    assert backend.loads == ["x", "x"]


def test_files_that_changed_while_it_was_unloaded_are_another_model() -> None:
    """The vectors are then the new model's, under the new model's key."""
    w = Idling(-1)
    assert w.model.encode(["a"]).tobytes() == right(["a"])
    assert w.handle.unload()
    w.backend.write("m", Files(weights="other"))
    assert w.model.encode(["a"]).tobytes() == right(["a"])  # stored
    assert w.model.encode(["b"]).tobytes() == right(["b"], weights="other")
    assert w.model.encode(["a"]).tobytes() == right(["a"], weights="other")


def test_64_threads_encode_while_it_is_unloaded_all_the_time() -> None:
    """Every vector is right, nobody waits for ever, and it was unloaded in between."""
    assert hammered(texts_each=8) > 0


@pytest.mark.stress
def test_64_threads_10_000_encodes() -> None:
    """The same for long: 10,000 encodes."""
    assert hammered(texts_each=10_000 // THREADS + 1) > 100


def hammered(*, texts_each: int) -> int:
    """How often the model was unloaded while 64 threads had `texts_each` encodes."""
    w = Idling(-1, live=True)
    over = threading.Event()
    barrier = threading.Barrier(THREADS + 1)

    def unload() -> int:
        count = 0
        barrier.wait(DEADLOCK)
        while not over.wait(0.002):
            count += w.handle.unload(timeout=DEADLOCK)
        return count

    def encode(thread: int) -> list[str]:
        barrier.wait(DEADLOCK)
        wrong = []
        for number in range(texts_each):
            texts = [f"{thread} {number}", f"{number}"]
            if w.model.encode(texts).tobytes() != right(texts):
                wrong.append(texts[0])
        return wrong

    unloading = start(unload)
    encoding = [start(lambda n=n: encode(n)) for n in range(THREADS)]  # type: ignore[misc]
    wrong = [future.result(20 * DEADLOCK) for future in encoding]
    over.set()
    count: int = unloading.result(DEADLOCK)
    assert list(itertools.chain(*wrong)) == []
    assert len(w.backend.loads) >= count
    return count


def test_memory_goes_back_through_the_allocator_and_the_accelerator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is in cycles is collected; torch's cache of the model's device is emptied."""
    import sys
    from types import SimpleNamespace

    class Loop:
        me: Any

    loop = Loop()
    loop.me, gone = loop, weakref.ref(loop)
    del loop
    emptied: list[str] = []
    torch = SimpleNamespace(
        cuda=SimpleNamespace(empty_cache=lambda: emptied.append("cuda")),
        mps=SimpleNamespace(empty_cache=lambda: 1 / 0),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    gc.disable()
    try:
        freed.give_back("cuda:1")
        freed.give_back("cpu")
        freed.give_back("mps")  # what goes wrong there is nobody's error
    finally:
        gc.enable()
    assert gone() is None
    assert emptied == ["cuda"]


# ------------------------------------------------------------------------------ when idle


def test_without_a_timeout_nothing_is_unloaded_and_no_thread_is_there() -> None:
    """The default: whatever the time, and not one thread more."""
    before = threading.active_count()
    w = Idling(None)
    w.model.encode(["a"])
    assert w.after(1e9) is None
    assert w.handle.is_loaded
    assert threading.active_count() == before


def test_a_model_goes_when_nobody_used_it_for_its_time(caplog: pytest.LogCaptureFixture) -> None:
    """Not a second earlier; one line says so, and the next text loads it again."""
    caplog.set_level(logging.INFO, logger="pytest_embedcache")
    w = Idling(60)
    w.model.encode(["a"])
    assert w.after(59) == 1
    assert w.handle.is_loaded
    assert w.after(1) is None
    assert not w.handle.is_loaded
    assert caplog.records[-1].getMessage() == "Unloaded model 'm': unused for 60 s"
    w.model.encode(["a"])  # stored: no model needed
    assert w.backend.loads == ["m"]
    w.model.encode(["b"])
    assert w.backend.loads == ["m", "m"]
    w.after(60)
    assert w.registry.stats().models[0].unloads == 2


def test_the_time_begins_at_the_end_of_the_use() -> None:
    """An encode that takes longer than the timeout has its model, and its minute afterwards."""
    w, gate = Idling(60, live=True), Gate()
    w.model.encode(["a"])
    w.handle.model.before = gate
    encoding = start(lambda: w.model.encode(["b"]))
    assert gate.reached.wait(DEADLOCK)
    w.after(1000)
    assert w.handle.is_loaded
    gate.open.set()
    assert encoding.result(DEADLOCK).tobytes() == right(["b"])
    w.after(59)
    assert w.handle.is_loaded
    w.after(1)
    assert not w.handle.is_loaded


def test_a_model_that_was_only_loaded_has_its_time_too() -> None:
    """A preload that nobody came for."""
    w = Idling(60)
    w.handle.get()
    w.after(60)
    assert not w.handle.is_loaded


def test_asking_the_registry_is_use() -> None:
    """A hit takes no lock and no time; that it happened is seen by its count."""
    w = Idling(60)
    w.registry.get(w.spec)
    w.after(50)
    w.registry.get(w.spec)
    w.after(10)
    assert w.handle.is_loaded
    w.after(60)
    assert not w.handle.is_loaded


def test_a_pinned_model_stays_and_can_be_let_go() -> None:
    """However long; until it is unpinned, and used once more."""
    w = Idling(60, live=True)
    w.handle.pinned = True
    w.model.encode(["a"])
    w.after(1e6)
    assert w.handle.is_loaded
    w.handle.pinned = False
    w.model.encode(["a"])
    w.after(60)
    assert not w.handle.is_loaded


def test_zero_is_at_once() -> None:
    """At the end of each use, in the thread that used it; not between the slices of a call."""
    w = Idling(0, live=True)
    texts = [f"{n}" for n in range(3000)]
    assert w.model.encode(texts).tobytes() == right(texts)
    assert not w.handle.is_loaded
    assert w.backend.loads == ["m"]
    w.model.encode(["a"])
    assert w.backend.loads == ["m", "m"]


def test_a_model_that_was_evicted_is_nobodys_to_unload() -> None:
    """The unloader keeps nothing alive."""
    w = Idling(60)
    w.model.encode(["a"])
    model = weakref.ref(w.handle.model)
    w.registry.clear()
    assert is_let_go(model)
    assert w.after(60) is None


def test_the_thread_unloads_and_ends() -> None:
    """With the real clock: the model goes by itself, and then the thread does."""
    backend, unloader = ToyBackend(), IdleUnloader()
    registry = ModelRegistry(backends={"torch": backend}, idle_timeout=0.01, unloader=unloader)
    gone = threading.Event()
    weakref.finalize(registry.handle("x").get(), gone.set)
    thread = unloader._thread
    assert gone.wait(DEADLOCK)
    assert thread is not None
    thread.join(DEADLOCK)
    assert not thread.is_alive()
    assert unloader._thread is None
    assert thread.daemon


@pytest.mark.parametrize(
    ("text", "seconds"), [("600", 600), ("0", 0), ("-1", -1), ("0.5", 0.5), ("-1.0", -1)]
)
def test_a_timeout_is_read_as_users_of_ollama_write_it(
    text: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds, 0, -1; from the environment as well, where an empty value is none."""
    assert read_timeout(text) == seconds
    monkeypatch.setenv("EMBEDCACHE_MODEL_TIMEOUT", text)
    assert default_idle_timeout() == ModelRegistry().idle_timeout == seconds
    monkeypatch.setenv("EMBEDCACHE_MODEL_TIMEOUT", "")
    assert default_idle_timeout() == -1


@pytest.mark.parametrize("text", ["never", "-2", "inf", "nan", "5m"])
def test_a_timeout_that_is_none_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the variable and says what can be given."""
    monkeypatch.setenv("EMBEDCACHE_MODEL_TIMEOUT", text)
    with pytest.raises(SettingsError, match=r"model_timeout = .* number of seconds.* -1 never"):
        ModelRegistry()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_unloads_what_it_uses() -> None:
    """The thread of the parent is not there; the child's first use starts its own."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    said = python(
        """
import os, signal, sys, threading, warnings, weakref
signal.alarm(60)
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: forking with threads
sys.path.insert(0, sys.argv[1])
from support.toys import ToyBackend
from pytest_embedcache import ModelRegistry
registry = ModelRegistry(backends={"torch": ToyBackend()}, idle_timeout=3600)
handle = registry.handle("x")
handle.get()
assert "embedcache-idle" in [thread.name for thread in threading.enumerate()]
child = os.fork()
if not child:
    status = 1
    try:
        assert "embedcache-idle" not in [thread.name for thread in threading.enumerate()]
        gone = threading.Event()
        weakref.finalize(handle.model, gone.set)
        handle.idle_timeout = 0.01
        with handle.using():
            pass
        status = 0 if gone.wait(120) else 2
    finally:
        os._exit(status)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), handle.is_loaded)
""",
        here,
    )
    assert said == "0 True"
