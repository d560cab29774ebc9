"""What the numbers were measured on; neither a host's name nor a path."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pytest_embedcache.models.resources import usable_cores

__all__ = ["describe"]

_PACKAGES = (
    "pytest-embedcache",
    "pytest",
    "pytest-xdist",
    "numpy",
    "torch",
    "transformers",
    "sentence-transformers",
)


def describe() -> Iterator[str]:
    """Processor, cores, memory, system, Python and the packages' versions, one line each."""
    yield f"processor: {_processor()}, {usable_cores()} cores usable"
    if memory := _memory():
        yield f"memory: {memory:.1f} GiB"
    yield f"system: {platform.system()}, {platform.machine()}"
    yield f"Python: {platform.python_version()} ({platform.python_implementation()})"
    yield f"packages: {', '.join(_versions())}"


def _versions() -> Iterator[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _memory() -> float | None:
    try:
        import os

        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None
