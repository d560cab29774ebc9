"""Whether usearch is installed, looked for and not imported.

Whoever imports it first cannot import onnxruntime any more: the process ends.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needs_usearch() -> None:
    """Skip the test where it is not installed."""
    if find_spec("usearch") is None:
        pytest.skip("usearch is not installed")
