"""What the machine has for models, and what follows: each answer with its reasons."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.children import python

from pytest_embedcache import ResourceProfile
from pytest_embedcache.models import accelerators as module
from pytest_embedcache.models.accelerators import Accelerator, accelerators
from pytest_embedcache.models.disks import Disk, disk_of
from pytest_embedcache.models.metadata import ModelMetadata

GIB = 2**30
linux = pytest.mark.skipif(sys.platform != "linux", reason="the files are Linux's")


def nvml(*cards: tuple[str, int, int], broken: tuple[str, ...] = ()) -> Any:
    """As much of NVIDIA's library as is asked: (name, total, free) for each card.

    Functions whose names are in `broken` answer with an error code.
    """
    calls: list[str] = []

    def function(name: str, work: Any) -> Any:
        def call(*arguments: Any) -> int:
            calls.append(name)
            if name in broken:
                return 999
            work(*arguments)
            return 0

        return call

    def set_count(reference: Any) -> None:
        reference._obj.value = len(cards)

    def set_handle(index: Any, reference: Any) -> None:
        reference._obj.value = index.value + 1

    def set_name(handle: Any, buffer: Any, length: Any) -> None:
        buffer.value = cards[handle.value - 1][0].encode()

    def set_memory(handle: Any, reference: Any) -> None:
        _, reference._obj.total, reference._obj.free = cards[handle.value - 1]

    functions = {
        "nvmlInit_v2": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount_v2": set_count,
        "nvmlDeviceGetHandleByIndex_v2": set_handle,
        "nvmlDeviceGetName": set_name,
        "nvmlDeviceGetMemoryInfo": set_memory,
    }
    made = SimpleNamespace(**{name: function(name, work) for name, work in functions.items()})
    made.calls = calls
    return made


H100 = ("H100", 80 * GIB, 60 * GIB)
T4 = ("T4", 16 * GIB, 15 * GIB)


def seen(library: Any, driver: Path = Path("/nowhere")) -> tuple[Accelerator, ...]:
    return accelerators(lambda name: library, driver)


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_cards_are_asked_for_through_the_drivers_library() -> None:
    """Name and memory of each, and the library is left as it was found."""
    library = nvml(H100, T4)
    assert seen(library) == (
        Accelerator("cuda:0", "H100", 80 * GIB, 60 * GIB),
        Accelerator("cuda:1", "T4", 16 * GIB, 15 * GIB),
    )
    assert library.calls.count("nvmlInit_v2") == library.calls.count("nvmlShutdown") == 1


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("1,0", ["T4", "H100"]),
        ("1", ["T4"]),
        ("", []),
        ("-1", []),
        ("0,7,1", ["H100"]),
        ("GPU-8932f937", ["GPU-8932f937"]),
    ],
)
def test_only_visible_cards_count_and_are_numbered_as_cuda_does(
    monkeypatch: pytest.MonkeyPatch, chosen: str, names: list[str]
) -> None:
    """`CUDA_VISIBLE_DEVICES` orders and hides; a wrong number ends the list."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    found = seen(nvml(H100, T4))
    assert [one.name for one in found] == names
    assert [one.device for one in found] == [f"cuda:{n}" for n in range(len(names))]


def test_what_the_library_does_not_tell_is_not_known() -> None:
    """A name, a memory, a handle, a count, the library itself: each may fail by itself."""
    broken = seen(nvml(T4, broken=("nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo")))
    assert broken == (Accelerator("cuda:0", "NVIDIA"),)
    assert seen(nvml(T4, broken=("nvmlDeviceGetHandleByIndex_v2",))) == broken
    assert seen(nvml(T4, broken=("nvmlDeviceGetCount_v2",))) == ()
    assert seen(nvml(T4, broken=("nvmlInit_v2",))) == ()


def test_without_the_library_the_kernels_driver_tells_that_there_is_something(
    tmp_path: Path,
) -> None:
    """A container that has the device and not the library; without either there is nothing."""

    def none(name: str) -> Any:
        raise OSError(name)

    (tmp_path / "0000:01:00.0").mkdir()
    assert accelerators(none, tmp_path) == (Accelerator("cuda:0", "NVIDIA"),)
    assert accelerators(none, tmp_path / "nowhere") == ()


def test_apples_accelerator_is_known_by_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch; Intel's Macs have none."""
    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert seen(nvml()) == (Accelerator("mps", "Apple"),)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert seen(nvml()) == ()


# ---------------------------------------------------------------------------------------- disks


@linux
@pytest.mark.parametrize(("flag", "kind"), [("0\n", "ssd"), ("1\n", "hdd")])
def test_a_partition_is_on_its_disk(tmp_path: Path, flag: str, kind: str) -> None:
    """The kernel has the flag with the whole disk."""
    number = os.stat(tmp_path).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    root = tmp_path / "root"
    partition = root / "sys/devices/sda/sda1"
    partition.mkdir(parents=True)
    (root / "sys/devices/sda/queue").mkdir()
    (root / "sys/devices/sda/queue/rotational").write_text(flag)
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block" / name).symlink_to(partition)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(f"22 1 {name} / / rw - ext4 /dev/sda1 rw\n")
    found = disk_of(tmp_path / "not yet there", root)
    assert (found.kind, found.filesystem, found.is_ssd) == (kind, "ext4", kind == "ssd")


@linux
@pytest.mark.parametrize(
    ("filesystem", "kind"), [("tmpfs", "memory"), ("nfs4", "network"), ("overlay", None)]
)
def test_a_directory_that_is_on_no_disk(tmp_path: Path, filesystem: str, kind: str | None) -> None:
    """In memory, on another machine, or where the system does not say."""
    number = os.stat(tmp_path).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    (tmp_path / "proc/self").mkdir(parents=True)
    line = f"22 1 {name} / / rw shared:1 - {filesystem} none rw\n"
    (tmp_path / "proc/self/mountinfo").write_text(f"nonsense\n{line}")
    found = disk_of(tmp_path, tmp_path)
    assert (found.kind, found.filesystem, found.is_ssd) == (kind, filesystem, None)
    assert found.reason


# ---------------------------------------------------------------------------------------- advice


PLAIN = ResourceProfile(
    cores=4,
    memory_free=16 * GIB,
    accelerators=(),
    disk=Disk("ssd", "ext4", "for the test"),
    torch="2.13.0",
)
CARD = Accelerator("cuda:0", "H100", 80 * GIB, 60 * GIB)
MINILM = ModelMetadata(dimension=384, max_seq_length=256)


@pytest.mark.parametrize(
    ("changes", "device", "reason"),
    [
        ({}, "cpu", "no accelerator"),
        ({"accelerators": (CARD,)}, "cuda:0", "60.0 GiB of its memory are free"),
        ({"accelerators": (CARD,), "torch": "2.13.0+cpu"}, "cpu", "built for the CPU alone"),
        ({"accelerators": (CARD,), "torch": None}, "cpu", "torch is not installed"),
        ({"accelerators": (Accelerator("mps", "Apple"),)}, "mps", "Apple is there"),
    ],
)
def test_a_device_is_recommended_with_the_reason(
    changes: dict[str, Any], device: str, reason: str
) -> None:
    """What is there, and what the installed torch can use."""
    advice = replace(PLAIN, **changes).recommended_device()
    assert advice.value == device
    assert reason in str(advice)


def test_a_batch_is_bounded_by_what_helps_and_by_what_fits() -> None:
    """Padded tokens: on a CPU few, on a card many, and less where there is little memory."""
    assert PLAIN.recommended_batch_size(MINILM).value == 2048
    little = replace(PLAIN, memory_free=GIB // 8).recommended_batch_size(MINILM)
    assert 256 < little.value < 2048
    assert any("quarter of the free" in reason for reason in little.reasons)
    card = replace(PLAIN, accelerators=(CARD,))
    assert card.recommended_batch_size(MINILM).value == 65536
    assert card.recommended_batch_size(MINILM, device="cpu").value == 2048
    tight = replace(card, accelerators=(replace(CARD, memory_free=GIB),))
    assert 2048 < tight.recommended_batch_size(MINILM).value < 65536
    unknown = replace(PLAIN, memory_free=None).recommended_batch_size(MINILM)
    assert unknown.value == 2048
    assert any("is not known" in reason for reason in unknown.reasons)


def test_one_text_of_full_length_always_fits() -> None:
    """However little memory there is; and a larger model gets smaller batches."""
    long = ModelMetadata(dimension=1024, max_seq_length=8192)
    assert PLAIN.recommended_batch_size(long).value == 8192
    poor = replace(PLAIN, memory_free=2**20)
    assert poor.recommended_batch_size(MINILM).value == 256
    room = replace(PLAIN, memory_free=GIB // 8)
    large = ModelMetadata(dimension=1024, max_seq_length=256)
    assert room.recommended_batch_size(large).value < room.recommended_batch_size(MINILM).value


def test_a_model_is_anything_that_has_metadata() -> None:
    """A `CachedModel`, a handle, or its metadata itself."""
    handle = SimpleNamespace(metadata=MINILM)
    assert PLAIN.recommended_batch_size(handle) == PLAIN.recommended_batch_size(MINILM)


def test_the_machine_is_asked_without_torch_or_numpy() -> None:
    """In a process of its own; what it finds is of this machine and has its reasons."""
    said = python(
        "import sys\n"
        "from pytest_embedcache import ResourceProfile\n"
        "found = ResourceProfile.here()\n"
        "assert found.cores >= 1 and found.disk.reason\n"
        "assert found.as_dict()['cores'] == found.cores\n"
        "assert found.recommended_device().reasons\n"
        "print(sorted({'torch', 'numpy'} & sys.modules.keys()))"
    )
    assert said == "[]"


def test_the_layout_of_nvmls_memory() -> None:
    """Three 64-bit numbers, as the library's first version of the structure has them."""
    assert ctypes.sizeof(module._Memory) == 24
