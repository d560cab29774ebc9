"""The floors of the house: who may import whom is a contract in pyproject.toml, and it is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_floor_imports_only_the_floors_below(tmp_path: Path) -> None:
    """import-linter finds no import, however late or indirect, that breaks a contract."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo"]
    # import-linter puts its working directory on sys.path: elsewhere than in the checkout, it reads
    # the package that is installed.
    ran = subprocess.run(
        [sys.executable, "-c", command, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Contracts: " in ran.stdout, "nothing was checked"
    assert " 0 broken" in ran.stdout
