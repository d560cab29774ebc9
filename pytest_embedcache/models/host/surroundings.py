"""What a process has around it that decides which vectors it makes: variables and packages."""

from __future__ import annotations

import functools
import importlib.machinery
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Self

from pytest_embedcache.encoding import digest
from pytest_embedcache.installed import installed_version
from pytest_embedcache.models.host.wire import PROTOCOL

__all__ = ["Surroundings"]

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


class Surroundings:
    """Those of a process at one time; a host that is started then has them for its whole life.

    Attributes:
        variables: The environment variables.
        path: Where packages are found; without what depends on the working directory.
    """

    def __init__(self, variables: Mapping[str, str], path: Sequence[object]) -> None:
        self.variables = dict(variables)
        # A Path in sys.path, which Python ignores, cannot be told.
        self.path = [part for part in path if isinstance(part, str) and os.path.isabs(part)]

    @classmethod
    def now(cls) -> Self:
        """Those of this process."""
        return cls(os.environ, sys.path)

    @functools.cached_property
    def environment(self) -> str:
        """Equal for two processes whose models have the same vectors (64 hexadecimal digits).

        Imports none of the libraries.
        """
        told = [f"protocol {PROTOCOL}", os.path.abspath(__file__), sys.version, sys.prefix]
        told.append(str(installed_version("pytest-embedcache")))
        for package in _LIBRARIES:
            # By the path alone: a stand-in in sys.modules is of this process.
            found = importlib.machinery.PathFinder.find_spec(package, self.path)
            if found is not None:
                told.append(f"{package} {found.origin} {_version(package, found.origin)}")
        told += [f"{name}={self.variables.get(name)}" for name in _VARIABLES]
        return digest(*told)


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
