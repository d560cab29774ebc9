from __future__ import annotations

import pytest
from support.suites import Suite


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """An empty suite whose models are toys."""
    made = Suite(pytester, monkeypatch)
    made.write(conftest="")
    return made


@pytest.fixture
def real_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """An empty suite without toys."""
    return Suite(pytester, monkeypatch)
