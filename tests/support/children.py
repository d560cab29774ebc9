"""What a child process needs to import what lies in tests/ and examples/."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_path(*folders: str) -> str:
    """PYTHONPATH with these folders of the checkout first.

    Under PYTHONSAFEPATH a script does not find what lies beside it. No part is empty: that would be
    the working directory, and the checkout could stand in for the installed package.
    """
    parts = [*(str(ROOT / folder) for folder in folders), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, parts))
