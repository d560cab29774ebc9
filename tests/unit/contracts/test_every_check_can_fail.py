"""Every check of every contract fails on an implementation that breaks it, and on that one alone.

A contract runs over all its broken implementations in one inner run of pytest, in this process.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest
from support import broken_backends, broken_models, broken_registries, broken_stores

from pytest_embedcache.testing import contracts
from pytest_embedcache.testing.contracts import Contract

TABLES: dict[str, tuple[type[Contract], Mapping[str, Any]]] = {
    "stores": (contracts.VectorStoreContract, broken_stores.BROKEN),
    "models": (contracts.EmbeddingModelContract, broken_models.BROKEN),
    "registries": (contracts.ModelRegistryContract, broken_registries.BROKEN),
    "backends": (contracts.BackendContract, broken_backends.BROKEN),
}
SUITE = """
    import pytest
    from support.broken_{table} import *
    from support import broken_{table} as table
    from pytest_embedcache.testing.contracts import {contract} as Contract

    def made(name, make):
        class Tests(Contract):
            @pytest.fixture
            def broken(self):
                return make()
    {fixtures}
        Tests.__name__ = Tests.__qualname__ = name
        return Tests

    for check, make in table.BROKEN.items():
        globals()["Test_" + check] = made("Test_" + check, make)
    TestSound = made("TestSound", {sound})
"""
FIXTURES = {
    "stores": "def store(self, broken): return broken",
    "models": """def model(self, broken): return broken
            @pytest.fixture
            def faults(self, broken): return broken.faults
            @pytest.fixture
            def load_count(self, broken): return lambda: broken.loads""",
    "registries": """def registry(self, broken): return broken
            @pytest.fixture
            def loading(self, broken): return broken.fakes.loading
            @pytest.fixture
            def load_count(self, broken): return broken.fakes.load_count""",
    "backends": """def backend(self, broken): return broken
            @pytest.fixture
            def missing(self): return table.MISSING
            @pytest.fixture
            def unloadable(self): return table.UNLOADABLE""",
}
SOUND = {
    "stores": "table.MemoryStore",
    "models": "table.Sound",
    "registries": "table.OfFakes",
    "backends": "table.Sound",
}


def checks_of(contract: type[Contract]) -> set[str]:
    return {name for name, _ in inspect.getmembers(contract) if name.startswith("test_")}


@pytest.mark.parametrize("table", TABLES)
def test_every_check_has_something_that_breaks_it(table: str) -> None:
    """A check that is added is added there, too; and says its claim."""
    contract, broken = TABLES[table]
    assert set(broken) == checks_of(contract)
    for name in broken:
        assert getattr(contract, name).__doc__, name


@pytest.mark.parametrize("table", TABLES)
def test_a_broken_one_fails_that_check_and_no_other(
    table: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that breaks nothing fails none; no check is skipped."""
    contract, broken = TABLES[table]
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    fixtures = "        @pytest.fixture\n            " + FIXTURES[table]
    pytester.makepyfile(
        SUITE.format(table=table, contract=contract.__name__, fixtures=fixtures, sound=SOUND[table])
    )
    run = pytester.inline_run("-q", "--tb=no", "-p", "no:cacheprovider")
    failed: dict[str, set[str]] = {}
    passed = 0
    for report in run.getreports("pytest_runtest_logreport"):
        assert not report.skipped, report.nodeid
        _, cls, test = report.nodeid.split("::")
        if report.failed:
            assert report.when == "call", report.longreprtext
            failed.setdefault(cls, set()).add(test.partition("[")[0])
        passed += report.passed and report.when == "call"
    assert failed == {f"Test_{check}": {check} for check in broken}
    assert passed >= len(broken) ** 2
