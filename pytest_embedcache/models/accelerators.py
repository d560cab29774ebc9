"""Accelerators and their memory, asked without importing torch.

CUDA's are asked through NVIDIA's own management library, which comes with the driver
(https://docs.nvidia.com/deploy/nvml-api/): asking it starts no context, and takes no memory of the
device. Whether the torch that is installed can use what is there is another question.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Accelerator", "accelerators"]

_LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")
_DRIVER = Path("/proc/driver/nvidia/gpus")
Load = Callable[[str], Any]


@dataclass(frozen=True)
class Accelerator:
    """A device; `device` is its name for torch. Bytes of memory are None where nobody tells."""

    device: str
    name: str
    memory_total: int | None = None
    memory_free: int | None = None


class _Memory(ctypes.Structure):
    """`nvmlMemory_t`, in bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def accelerators(load: Load = ctypes.CDLL, driver: Path = _DRIVER) -> tuple[Accelerator, ...]:
    """Those that this process may see, the best first; empty where there is none."""
    found = tuple(_visible(_from_nvml(load) or _from_driver(driver)))
    if sys.platform == "darwin" and platform.machine() == "arm64":
        # The memory is the machine's own.
        found += (Accelerator("mps", "Apple"),)
    return found


def _visible(found: list[Accelerator]) -> Iterator[Accelerator]:
    """Those that `CUDA_VISIBLE_DEVICES` leaves, in its order and numbered anew, as CUDA does."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = found
    if chosen is not None:
        listed = []
        for word in chosen.split(","):
            word = word.strip()
            if not word.isdecimal():
                # A device by its UUID: which one is not looked into. -1 and nonsense end the list.
                if not word.startswith(("GPU-", "MIG-")) or not found:
                    break
                listed.append(Accelerator("cuda", word))
            elif int(word) < len(found):
                listed.append(found[int(word)])
            else:
                break
    for number, one in enumerate(listed):
        yield Accelerator(f"cuda:{number}", one.name, one.memory_total, one.memory_free)


def _from_nvml(load: Load) -> list[Accelerator]:
    with _library(load) as library:
        count = ctypes.c_uint()
        if library is None or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
        return [_one(library, number) for number in range(count.value)]


@contextmanager
def _library(load: Load) -> Iterator[Any]:
    """NVML, started; None where it is not there, or the driver is not."""
    for name in _LIBRARIES:
        try:
            library = load(name)
            if library.nvmlInit_v2():
                break
        except (OSError, AttributeError):
            continue
        try:
            yield library
        finally:
            library.nvmlShutdown()
        return
    yield None


def _one(library: Any, number: int) -> Accelerator:
    handle = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(handle)):
        return Accelerator("cuda", "NVIDIA")
    name = ctypes.create_string_buffer(96)
    told = not library.nvmlDeviceGetName(handle, name, ctypes.c_uint(len(name)))
    memory = _Memory()
    sizes: tuple[int | None, int | None] = (None, None)
    if not library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
        sizes = (memory.total, memory.free)
    return Accelerator("cuda", name.value.decode(errors="replace") if told else "NVIDIA", *sizes)


def _from_driver(driver: Path) -> list[Accelerator]:
    """Where only the kernel's part of the driver is to be seen, that there is something."""
    try:
        return [Accelerator("cuda", "NVIDIA") for _ in driver.iterdir()]
    except OSError:
        return []
