"""A process that forks while it uses models: the child has them, and waits for nobody."""

from __future__ import annotations

import os

import pytest
from support.children import python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

PREAMBLE = """
import gc, os, sys, threading
sys.path.insert(0, sys.argv[1])
from support.in_fork import in_child
from support.toys import Gate, ToyBackend, start
from pytest_embedcache import ModelRegistry, ModelSpec, default_registry, notices
from pytest_embedcache.models.registry import swap_default_registry

backend, gate = ToyBackend(), Gate()
registry = ModelRegistry(backends={"torch": backend})
"""


def in_a_process(code: str) -> str:
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return python(PREAMBLE + code, here)


def test_a_child_has_the_models_of_its_parent() -> None:
    """Copy-on-write: no load in the child, and its counts go on from there."""
    said = in_a_process("""
model = registry.get("x")
def work():
    assert registry.get("x") is model
    assert backend.loads == ["x"]
    assert registry.stats().gets == 2
    assert registry.evict("x") and registry.get("x") is not model
status = in_child(work)
print(status, registry.get("x") is model, registry.stats().gets)
""")
    assert said == "0 True 2"


def test_a_child_that_was_forked_during_a_load_loads_for_itself() -> None:
    """The thread that was loading is not there: the child waits neither for it nor for its turn,
    nor leaves the garbage collector off that it had switched off."""
    said = in_a_process("""
backend.on_load = gate
loader = start(lambda: registry.get("x"))
assert gate.reached.wait(120)
assert not gc.isenabled()
def work():
    backend.on_load = lambda spec: None
    assert gc.isenabled()
    assert not registry.handle("x").is_loading
    assert registry.get("x") is registry.get("x")
    assert registry.get("y") is not registry.get("x")
    assert backend.loads == ["x", "x", "y"]
    assert gc.isenabled()
status = in_child(work)
gate.open.set()
model = loader.result(120)
print(status, registry.get("x") is model, backend.loads, gc.isenabled())
""")
    assert said == "0 True ['x'] True"


def test_a_child_that_was_forked_by_a_load_goes_on_with_it() -> None:
    """Remote code may fork: in the child, too, the load ends and the collector goes on."""
    said = in_a_process("""
children = []
def fork(spec):
    if spec.name.endswith("x"):
        children.append(os.fork())
backend.on_load = fork
model = registry.get("x")
assert gc.isenabled()
assert registry.get("y") is not model
if children == [0]:
    os._exit(17)
print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]), backend.loads)
""")
    assert said == "17 ['x', 'y']"


def test_a_child_finds_every_lock_open_that_another_thread_held() -> None:
    """The registry's, the default registry's, the notices'."""
    said = in_a_process("""
from pytest_embedcache.models import collector, registry as registries
held = [registry._lock, registries._default_lock, collector._lock, notices._lock]
holding, done = threading.Event(), threading.Event()
def hold():
    for lock in held:
        lock.acquire()
    holding.set()
    done.wait(60)
    for lock in held:
        lock.release()
thread = threading.Thread(target=hold)
thread.start()
assert holding.wait(120)
def work():
    registry.get("x")
    registry.evict("x")
    swap_default_registry(registry)
    assert default_registry() is registry
    notices.degraded("a notice")
    assert notices.counts() == {"a notice": 1}
status = in_child(work)
done.set()
thread.join()
print(status)
""")
    assert said == "0"
