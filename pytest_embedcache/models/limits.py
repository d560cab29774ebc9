"""What a container or a service may have of the machine: Linux's control groups, both versions.

Version 2 has one tree (https://docs.kernel.org/admin-guide/cgroup-v2.html), version 1 one for each
controller (https://docs.kernel.org/admin-guide/cgroup-v1/). A limit holds for all groups below, so
the group of this process is looked at and all above it. What cannot be read limits nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_memory", "quota_of_cores"]

_ROOT = Path("/")
#: Version 1 writes "no limit" as the largest multiple of a page: nothing real is that much.
_UNLIMITED = 2**60


def quota_of_cores(root: Path = _ROOT) -> int | None:
    """The cores that the quotas amount to, rounded up; None where there is none."""
    quotas = []
    for group in _groups(root, "cpu"):
        # "quota period", in microseconds, or one file for each.
        together = _words(group / "cpu.max")
        apart = [*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")]
        for words in (together, apart):
            numbers = [_number(word) for word in words]
            if len(numbers) == 2 and numbers[0] and numbers[1] and numbers[0] > 0:
                quotas.append(max(1, math.ceil(numbers[0] / numbers[1])))
    return min(quotas, default=None)


def free_memory(root: Path = _ROOT) -> int | None:
    """Bytes that this process can still have: of the machine, and of its groups' limits.

    Pages of files that are not in use count as free, as in the kernel's own `MemAvailable`.
    """
    free = [available] if (available := _available(root)) is not None else []
    for group in _groups(root, "memory"):
        for limit_name, used_name, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit = _number(next(iter(_words(group / limit_name)), ""))
            used = _number(next(iter(_words(group / used_name)), ""))
            if limit is not None and used is not None and limit < _UNLIMITED:
                free.append(max(0, limit - used + _field(group / "memory.stat", cached)))
    return min(free, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The groups of this process for a controller, its own first, up to the top of the tree."""
    mounted = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top = mounted
        elif controller in controllers.split(","):
            top = mounted / controllers
            top = top if top.is_dir() else mounted / controller
        else:
            continue
        group = top / path.strip().lstrip("/")
        # Inside a container the path may be the machine's, which is not to be seen from here.
        while group != top and top in group.parents:
            if group.is_dir():
                yield group
            group = group.parent
        yield top


def _available(root: Path) -> int | None:
    kilobytes = _field(root / "proc/meminfo", "MemAvailable:")
    return kilobytes * 1024 if kilobytes else None


def _field(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        words = line.split()
        if words and words[0] == name and len(words) > 1:
            return _number(words[1]) or 0
    return 0


def _words(path: Path) -> list[str]:
    return _read(path).split()


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.lstrip("-").isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
