"""A preload of a real model: the process may end, or fork, while torch is being imported."""

from __future__ import annotations

import importlib.util
import os
import weakref
from pathlib import Path

import pytest
from support.children import python

from pytest_embedcache import get_model
from pytest_embedcache.vectors.api import swap_default_cache
from pytest_embedcache.vectors.cache import VectorCache

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed",
)

#: Goes on in the main thread as soon as the preload's thread is in the midst of importing torch.
DURING = """
import sys, threading

class Finder:
    "Learns that torch's import has come to the module `name`."
    def __init__(self, name):
        self.name, self.reached = name, threading.Event()
    def find_spec(self, name, path, target=None):
        if name == self.name:
            self.reached.set()
        return None

finder = Finder(sys.argv[2])
sys.meta_path.insert(0, finder)
from pytest_embedcache import get_model, preload
preloaded = preload(sys.argv[1])
assert finder.reached.wait(400)
"""


@pytest.mark.parametrize("module", ["torch", "torch.nn", "transformers"])
def test_a_process_ends_while_torch_is_imported(tiny: Path, module: str) -> None:
    """Without a crash, a word, or waiting for the model."""
    assert python(f"{DURING}print('end')", str(tiny), module) == "end"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_waits_for_the_import_and_the_child_has_a_model_of_its_own(tiny: Path) -> None:
    """Neither hangs: the module that is being imported is locked by nobody in the child."""
    code = """
import os, signal, warnings
signal.alarm(600)
warnings.simplefilter("ignore")  # of Python 3.12 and later, about forking with threads
child = os.fork()
if not child:
    signal.alarm(500)
    status = 1
    try:
        status = 0 if get_model(sys.argv[1]).encode("a cat in a child").shape == (16,) else 2
    finally:
        os._exit(status)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, preloaded.wait(400).encode("a cat").shape)
"""
    said = python(
        DURING + code, str(tiny), "torch.nn", OMP_NUM_THREADS="1", HF_HUB_DISABLE_PROGRESS_BARS="1"
    )
    assert said.splitlines()[-1] == "0 (16,)"


def test_a_model_is_unloaded_and_its_vectors_are_the_same_afterwards(tiny: Path) -> None:
    """The real thing, with its reference cycles: nothing of it is left, and it comes back."""
    swap_default_cache(VectorCache(None))
    model = get_model(str(tiny))
    before = model.encode(["a cat", "revenue"])
    module = weakref.ref(model.handle.model)
    assert model.handle.unload()
    assert module() is None
    assert not model.is_loaded
    assert (model.encode(["a cat", "revenue"]) == before).all()
