"""The same suite as people write it without the plugin: every test builds the model it needs.

`DEMO_PLAIN` names a file that gets a line with the seconds of each load.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import faq
import pytest


def load(name: str) -> Any:
    start = time.perf_counter()
    from sentence_transformers import SentenceTransformer

    imported = time.perf_counter()
    model = SentenceTransformer(name, device="cpu")
    line = f"{imported - start:.6f} {time.perf_counter() - imported:.6f}\n"
    with open(os.environ["DEMO_PLAIN"], "a", encoding="ascii") as file:
        file.write(line)
    return model


@pytest.fixture
def embedding_model() -> Any:
    return load(faq.MODEL)


@pytest.fixture
def embedcache_model() -> Any:
    return load(faq.MODEL)


@pytest.fixture(autouse=True)
def every_faq_loads_its_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faq, "get_model", load)
        yield
