"""A real model in a forked child: it encodes, where OpenMP's threads did not come along."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.children import python
from support.suites import needs_torch

pytestmark = [
    needs_torch,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
]

FORK = """
import gc, os, signal, sys, warnings
signal.alarm(600)
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(2)
import numpy as np
from pytest_embedcache import ModelRegistry

path = sys.argv[1]
texts = [f"a cat and a kitten {i}" for i in range(64)]
registry = ModelRegistry()
vectors = registry.get(path).encode(texts)

def child_encodes():
    child = os.fork()
    if not child:
        signal.alarm(300)
        same = np.allclose(registry.get(path).encode(texts), vectors, atol=1e-5)
        os._exit(0 if same and torch.get_num_threads() == 1 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

with_the_parents = child_encodes()
registry.evict(path)
with_its_own = child_encodes()
print(with_the_parents, with_its_own)
print(torch.get_num_threads(), registry.stats().loads, gc.get_freeze_count())
"""


def test_a_child_of_a_process_that_has_encoded_encodes(minilm: Path) -> None:
    """With the parent's model, or with one of its own; the parent keeps its threads.

    And outside of pytest nothing is frozen: a service may drop its models.
    """
    assert python(FORK, str(minilm)).split() == ["0", "0", "2", "1", "0"]
