"""Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def python(code: str, *arguments: str, **environment: str) -> str:
    """What `code` prints, without white space around it; its arguments are `sys.argv[1:]`."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()
