"""What importing the stores costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("pytest_embedcache.vectors", {"numpy", "sqlite3", "redis"}),
        ("pytest_embedcache.vectors.keys", {"numpy", "sqlite3", "redis"}),
        ("pytest_embedcache.vectors.store", {"numpy", "sqlite3", "redis"}),
        ("pytest_embedcache.vectors.tiered", {"sqlite3", "redis", "torch"}),
        ("pytest_embedcache.vectors.sqlite", {"redis", "torch", "filelock", "platformdirs"}),
        ("pytest_embedcache.vectors.redis", {"redis", "sqlite3", "torch"}),
    ],
)
def test_importing_brings_only_what_is_needed(
    module: str, unwanted: set[str], tmp_path: Path
) -> None:
    """Each store brings its own driver and nothing else."""
    code = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(ran.stdout.split())
    assert module in loaded
    assert unwanted.isdisjoint(loaded)
