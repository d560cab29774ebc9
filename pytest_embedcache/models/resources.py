"""What the machine offers to this process."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

__all__ = ["best_device", "threads_per_worker", "usable_cores"]

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(limit_file: Path = _CGROUP_LIMIT) -> int:
    """The cores that this process may use, at least 1: affinity, and a container's quota.

    The quota is cgroup v2's `cpu.max`, "quota period" in microseconds
    (https://docs.kernel.org/admin-guide/cgroup-v2.html).
    """
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = limit_file.read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    return max(1, cores)


def threads_per_worker(workers: int, cores: int | None = None) -> int:
    """Threads for each of `workers` processes, so that together they do not exceed the cores."""
    return max(1, (cores or usable_cores()) // max(1, workers))


def best_device() -> str:
    """The device that `None` means: CUDA, then MPS, then the CPU.

    A CPU-only build of torch is recognised by its version, without importing it.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        if version("torch").endswith("+cpu"):
            return "cpu"
        import torch
    except (PackageNotFoundError, ImportError):
        return "cpu"
    if torch.cuda.is_available():
        return "cuda:0"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"
