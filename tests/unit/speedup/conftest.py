from __future__ import annotations

from types import ModuleType

import pytest
from support.benchmarks import load


@pytest.fixture(scope="session")
def timings() -> ModuleType:
    """benchmarks/gate_timings.py: simulated machines."""
    return load("gate_timings")
