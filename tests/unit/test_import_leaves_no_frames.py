"""What an import leaves behind holds on to nothing of whoever asked for it."""

from __future__ import annotations

from pathlib import Path

from support.children import python

#: As torch.fx.wrap does: a function that keeps its own frame, and so everybody's that called it.
KEEPS_ITS_FRAME = """
import inspect

def wrap():
    frame = inspect.currentframe()
    caller = frame.f_back

wrap()
"""

FREEZE = """
import gc, sys, weakref
sys.path.insert(0, sys.argv[1])
from pytest_embedcache.models.backends.torch import TorchBackend

class Model:
    pass

def load():
    assert TorchBackend().import_libraries()
    gc.freeze()
    model = Model()
    return weakref.ref(model)

def test():
    secret = Model()
    return load(), weakref.ref(secret)

gc.disable()
gone = test()
gc.collect()
print([reference() for reference in gone])
"""


def test_variables_of_the_caller_are_freed_though_the_imports_garbage_was_frozen(
    tmp_path: Path,
) -> None:
    """Neither the model's nor anybody's further up stays in memory for ever."""
    (tmp_path / "sentence_transformers.py").write_text(KEEPS_ITS_FRAME)
    assert python(FREEZE, str(tmp_path)) == "[None, None]"
