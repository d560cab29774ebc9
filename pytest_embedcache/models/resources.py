"""What the machine offers to this process."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["best_device", "concrete_device", "threads_per_worker", "usable_cores"]


def usable_cores(root: Path = Path("/")) -> int:
    """The cores that this process may use, at least 1: affinity, and a container's quota."""
    from pytest_embedcache.models.limits import quota_of_cores

    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, quota_of_cores(root) or cores))


def threads_per_worker(workers: int, cores: int | None = None) -> int:
    """Threads for each of `workers` processes, so that together they do not exceed the cores."""
    return max(1, (cores or usable_cores()) // max(1, workers))


def best_device() -> str:
    """The device that `None` means: CUDA, then MPS, then XPU, then the CPU.

    A CPU-only build of torch is recognised by its version, without importing it.
    """
    from importlib.metadata import PackageNotFoundError, version

    with contextlib.suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return "cpu"
    try:
        import torch
    except ImportError:
        return "cpu"
    if torch.cuda.is_available():
        return f"cuda:{_current('cuda')}"
    if torch.backends.mps.is_available():
        return "mps"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return f"xpu:{_current('xpu')}"
    return "cpu"


def concrete_device(device: str | None) -> str:
    """`device` with its index, as torch would read it now; None is the best one.

    `cuda` is the process's current one: with `torch.cuda.set_device(1)`, `cuda:1`.
    """
    if device is None:
        return best_device()
    several = device in ("cuda", "xpu")
    return f"{device}:{_current(device)}" if several else device


def _current(kind: str) -> int:
    """The current device of that kind; 0 where nobody can have chosen another."""
    torch: Any = sys.modules.get("torch")
    library = getattr(torch, kind, None)
    # Asked only where it is in use: asking would start it, which a later fork does not survive.
    if library is None or not library.is_initialized():
        return 0
    return int(library.current_device())
