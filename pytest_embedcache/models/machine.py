"""What was measured on: enough to see whether times may be compared, and no host's name."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from pytest_embedcache.models.resources import usable_cores

__all__ = ["describe_machine", "processor"]


def describe_machine() -> dict[str, Any]:
    """Built-in types; `processor` is None where the system does not name its model."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "machine": platform.machine(),
        "system": platform.system(),
        "implementation": platform.python_implementation(),
        "python": platform.python_version(),
    }


def processor() -> str | None:
    """The model's name, such as `AMD EPYC 7763 64-Core Processor`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, None)
