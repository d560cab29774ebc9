"""What a container may have of the machine, by control groups of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_embedcache.models.limits import free_memory, quota_of_cores

GIB = 2**30
#: As in a service of version 2, and in a container of version 1.
V2 = "0::/system.slice/app.service\n"
V1 = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n"


def lay(root: Path, **files: str) -> Path:
    """Write files below `root`; the `__` in a name stand for slashes."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    lay(tmp_path, proc__self__cgroup=V2)
    (tmp_path / "sys/fs/cgroup/system.slice/app.service").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    lay(tmp_path, proc__self__cgroup=V1)
    for controller in ("cpu,cpuacct", "memory"):
        (tmp_path / "sys/fs/cgroup" / controller / "docker/abc").mkdir(parents=True)
    return tmp_path


def test_the_tightest_quota_above_a_process_counts(v2: Path) -> None:
    """Its own group's, or that of one above; rounded up."""
    groups = v2 / "sys/fs/cgroup"
    assert quota_of_cores(v2) is None
    (groups / "system.slice/app.service/cpu.max").write_text("max 100000\n")
    assert quota_of_cores(v2) is None
    (groups / "system.slice/cpu.max").write_text("250000 100000\n")
    assert quota_of_cores(v2) == 3
    (groups / "system.slice/app.service/cpu.max").write_text("50000 100000\n")
    assert quota_of_cores(v2) == 1


def test_version_1_has_the_quota_in_two_files(v1: Path) -> None:
    """-1 is none."""
    group = v1 / "sys/fs/cgroup/cpu,cpuacct/docker/abc"
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert quota_of_cores(v1) is None
    (group / "cpu.cfs_quota_us").write_text("150000\n")
    assert quota_of_cores(v1) == 2


def test_a_container_sees_its_own_group_as_the_top(v1: Path) -> None:
    """The path in /proc is then the machine's, and leads nowhere in here."""
    lay(v1, proc__self__cgroup="5:cpu,cpuacct:/elsewhere/xyz\n")
    top = v1 / "sys/fs/cgroup/cpu,cpuacct"
    (top / "cpu.cfs_quota_us").write_text("100000")
    (top / "cpu.cfs_period_us").write_text("100000")
    assert quota_of_cores(v1) == 1


def test_free_memory_is_the_machines_or_what_the_limit_leaves(v2: Path) -> None:
    """Pages of files that could go count as free."""
    assert free_memory(v2) is None
    lay(v2, proc__meminfo=f"MemTotal: 1 kB\nMemAvailable:   {8 * 2**20} kB\n")
    assert free_memory(v2) == 8 * GIB
    group = v2 / "sys/fs/cgroup/system.slice/app.service"
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text(f"{GIB}\n")
    assert free_memory(v2) == 8 * GIB
    (group / "memory.max").write_text(f"{2 * GIB}\n")
    assert free_memory(v2) == GIB
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {GIB // 2}\n")
    assert free_memory(v2) == 3 * GIB // 2
    (v2 / "sys/fs/cgroup/system.slice/memory.max").write_text("1000\n")
    (v2 / "sys/fs/cgroup/system.slice/memory.current").write_text("5000\n")
    assert free_memory(v2) == 0


def test_version_1_writes_no_limit_as_a_number(v1: Path) -> None:
    """Nothing real is that much."""
    lay(v1, proc__meminfo=f"MemAvailable: {4 * 2**20} kB\n")
    group = v1 / "sys/fs/cgroup/memory/docker/abc"
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (group / "memory.usage_in_bytes").write_text(f"{GIB}\n")
    assert free_memory(v1) == 4 * GIB
    (group / "memory.limit_in_bytes").write_text(f"{3 * GIB}\n")
    (group / "memory.stat").write_text(f"inactive_file 7\ntotal_inactive_file {GIB // 4}\n")
    assert free_memory(v1) == 2 * GIB + GIB // 4


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "100000", "-5 100000", "1 0"])
def test_what_cannot_be_read_limits_nothing(v2: Path, text: str) -> None:
    """A file that is empty, or of some other kernel."""
    group = v2 / "sys/fs/cgroup/system.slice/app.service"
    (group / "cpu.max").write_text(text)
    assert quota_of_cores(v2) is None


@pytest.mark.parametrize(("limit", "used"), [("", "5"), ("5", ""), ("nonsense", "5"), ("max", "5")])
def test_half_a_limit_is_none(v2: Path, limit: str, used: str) -> None:
    """What is used is not known, or what may be."""
    group = v2 / "sys/fs/cgroup/system.slice/app.service"
    (group / "memory.max").write_text(limit)
    (group / "memory.current").write_text(used)
    assert free_memory(v2) is None
