"""On what a directory lies: a solid disk, a turning one, memory, or another machine's."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Disk", "disk_of"]

_MEMORY = ("tmpfs", "ramfs")
_NETWORK = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"),
    *("fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "beegfs", "gpfs"),
)


@dataclass(frozen=True)
class Disk:
    """What is known of a directory's disk.

    Attributes:
        kind: `ssd`, `hdd`, `memory` or `network`; None where the system does not say.
        filesystem: Its type, where that is known.
        reason: How it is known, or why not.
    """

    kind: str | None
    filesystem: str | None
    reason: str

    @property
    def is_ssd(self) -> bool | None:
        """Whether it has no turning parts; None where that is not known."""
        return None if self.kind not in ("ssd", "hdd") else self.kind == "ssd"


def disk_of(directory: str | os.PathLike[str], root: Path = Path("/")) -> Disk:
    """The disk of `directory`, or of what is nearest above it and exists."""
    place = Path(os.path.realpath(directory))
    while not place.exists() and place != place.parent:
        place = place.parent
    if sys.platform != "linux":
        return Disk(None, None, "only Linux is asked")
    number = os.stat(place).st_dev
    filesystem = _filesystem(root, f"{os.major(number)}:{os.minor(number)}")
    if filesystem in _MEMORY:
        return Disk("memory", filesystem, f"{place} is on a {filesystem}: gone after a restart")
    if filesystem in _NETWORK:
        return Disk("network", filesystem, f"{place} is on a {filesystem}")
    turning = _rotational(root, number)
    if turning is None:
        return Disk(None, filesystem, f"the kernel names no disk for {filesystem or place}")
    # A virtual disk says whatever its host was told to say.
    return Disk(
        "hdd" if turning else "ssd",
        filesystem,
        f"the kernel says that it {'turns' if turning else 'does not turn'}",
    )


def _filesystem(root: Path, number: str) -> str | None:
    """https://docs.kernel.org/filesystems/proc.html, mountinfo: the type follows the hyphen."""
    try:
        lines = (root / "proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in lines.splitlines():
        before, _, after = line.partition(" - ")
        words = before.split()
        if len(words) > 2 and words[2] == number and after:
            return after.split()[0]
    return None


def _rotational(root: Path, number: int) -> bool | None:
    device = root / "sys/dev/block" / f"{os.major(number)}:{os.minor(number)}"
    for place in (device, Path(os.path.realpath(device)).parent):  # a partition's is its disk's
        try:
            return (place / "queue/rotational").read_text(encoding="ascii").strip() == "1"
        except (OSError, ValueError):
            continue
    return None
