"""What the numbers were measured on; neither a host's name nor a path."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from pytest_embedcache.models.machine import processor
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
    yield f"processor: {processor() or platform.machine()}, {usable_cores()} cores usable"
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


def _memory() -> float | None:
    try:
        import os

        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None
