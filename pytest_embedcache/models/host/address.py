"""Where a model host is, and for whom: a short path in a directory that nobody else can enter.

Its name is made of everything that decides which vectors a host has: our version, the interpreter,
the libraries and where they are imported from. So a host of another environment is not found, and
hosts of different environments do not meet.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import os
import socket
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pytest_embedcache.encoding import digest
from pytest_embedcache.installed import installed_version
from pytest_embedcache.models.host.wire import PROTOCOL

__all__ = ["Address", "address_of", "any_kept", "environment", "known", "private_directory"]

#: Bytes of a socket's path, with its final zero, on macOS; Linux allows 108.
_LONGEST = 103
#: Whose version, or place, may change a vector.
_LIBRARIES = (
    *("torch", "sentence_transformers", "transformers", "tokenizers", "safetensors", "peft"),
    *("onnxruntime", "numpy"),
)
#: What libraries read, and what may change a vector or the device it is made on.
_VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG"),
    *("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "CUDA_DEVICE_ORDER"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "PYTORCH_ENABLE_MPS_FALLBACK"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
)


@dataclass(frozen=True)
class Address:
    """Of one host.

    Attributes:
        path: The socket's; where there are no Unix sockets, of the file that has the port.
        unix: Whether it is a Unix socket.
    """

    path: Path
    unix: bool = hasattr(socket, "AF_UNIX")

    @property
    def secret(self) -> Path:
        """The file with what both sides have to know."""
        return self.path.with_suffix(".key")

    @property
    def lock(self) -> Path:
        """Held by whoever starts a host; one for all, since a lock file stays."""
        return self.path.with_name("start.lock")


def private_directory(folder: Path, *, make: bool = False) -> None:
    """Check the directory of a socket; with `make` it is made if need be.

    Raises `OSError` where there is none, or it is not this user's alone.
    """
    if make:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    if os.name == "posix":
        # Not through a link: in /tmp anybody can lay one.
        found = folder.lstat()
        private = not stat.S_IMODE(found.st_mode) & 0o077
        if not (stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and private):
            raise PermissionError(
                f"{folder} is not a directory of this user alone (mode 700); remove it"
            )


def _place() -> Path:
    """Short, and not the same for two users."""
    if os.name != "posix":
        return Path(tempfile.gettempdir(), "embedcache")
    name = f"embedcache-{os.getuid()}"
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        # With room for the name of a socket.
        if candidate and os.path.isdir(candidate) and os.access(candidate, os.W_OK):
            folder = Path(candidate, name)
            if len(os.fsencode(folder)) + 30 <= _LONGEST:
                return folder
    return Path("/tmp", name)


def address_of(cache_dir: str, run: str | None = None) -> Address:
    """Of the host for this environment and cache directory, kept or of one run."""
    kind = "keep" if run is None else "run"
    name = digest(environment(), os.path.abspath(cache_dir), run or "")[:16]
    suffix = "sock" if Address.unix else "port"
    return Address(_place() / f"{kind}-{name}.{suffix}")


def known() -> list[Address]:
    """Every address of the user at which there is, or was, a host."""
    suffix = "sock" if Address.unix else "port"
    return [Address(path) for path in sorted(_place().glob(f"[kr]*.{suffix}"))]


def any_kept() -> bool:
    """Whether there may be a host that was kept; quick, for those who have none."""
    try:
        return any(name.startswith("keep-") for name in os.listdir(_place()))
    except OSError:
        return False


def _version(package: str, origin: str | None) -> str | None:
    """By the name of the directory beside it: to read what is in there takes 4 ms for each."""
    beside = os.path.dirname(os.path.dirname(origin or ""))
    names = [n for n in _listed(beside) if n.startswith(f"{package}-") and n.endswith("-info")]
    return "|".join(names) or installed_version(package)


@functools.cache
def _listed(folder: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(folder)))
    except OSError:
        return ()


@functools.cache
def environment() -> str:
    """Equal in two processes whose models have the same vectors (64 hexadecimal digits).

    Imports none of the libraries. As it is when it is first asked for.
    """
    told = [f"protocol {PROTOCOL}", os.path.abspath(__file__), sys.version, sys.prefix]
    told.append(str(installed_version("pytest-embedcache")))
    for package in _LIBRARIES:
        # By the path alone: a stand-in in sys.modules is of this process.
        found = importlib.machinery.PathFinder.find_spec(package)
        if found is not None:
            told.append(f"{package} {found.origin} {_version(package, found.origin)}")
    told += [f"{name}={os.environ.get(name)}" for name in _VARIABLES]
    return digest(*told)
