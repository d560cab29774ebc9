from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_embedcache import ModelSpec
from pytest_embedcache.fingerprint import fingerprint_of
from pytest_embedcache.weights import HashMemo


@pytest.fixture
def fingerprint() -> Callable[..., str]:
    """`fingerprint(name, **spec)`, where files are known to be old: none is hashed twice."""
    memo = HashMemo(None, clock=lambda: time.time() + 10)

    def compute(name: str | Path, **options: Any) -> str:
        return fingerprint_of(ModelSpec(str(name), **options), memo=memo).digest

    return compute
