"""The modules in benchmarks/, for the tests of them."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from support.children import ROOT


def load(name: str) -> ModuleType:
    """By its path: the checkout is not on sys.path, so that the installed package is tested."""
    spec = importlib.util.spec_from_file_location(
        f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
