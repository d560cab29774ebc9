"""Which test runs now."""

from __future__ import annotations

import os

__all__ = ["running_test"]


def running_test() -> str:
    """Its id, whichever thread asks; empty outside of tests."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
