"""Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_path(*folders: str) -> str:
    """PYTHONPATH with these folders of the checkout first.

    Under PYTHONSAFEPATH a script does not find what lies beside it. No part is empty: that would be
    the working directory, and the checkout could stand in for the installed package.
    """
    parts = [*(str(ROOT / folder) for folder in folders), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, parts))


def python(code: str, *arguments: str, **environment: str) -> str:
    """What `code` prints, without white space around it; its arguments are `sys.argv[1:]`."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()
