"""In which number format a checkpoint is loaded where nobody says so."""

from __future__ import annotations

import functools
from pathlib import Path

from pytest_embedcache.files import read_json
from pytest_embedcache.installed import importable_version
from pytest_embedcache.layout import module_directories, weights_of
from pytest_embedcache.snapshot import bases_of
from pytest_embedcache.weights import read_header

__all__ = ["default_dtype", "dtype_keyword", "keeps_dtype"]

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


def default_dtype(path: str) -> str:
    """The dtype in which the installed transformers loads the checkpoint at `path` by default.

    From version 5 on that is the checkpoint's own (its configuration's, else that of its first
    floating-point tensor); before, float32.
    """
    return _checkpoint_dtype(Path(path)) if keeps_dtype() else "float32"


def dtype_keyword() -> str:
    """What the installed transformers calls the dtype in the keyword arguments of a model."""
    return "dtype" if keeps_dtype() else "torch_dtype"


@functools.cache
def keeps_dtype() -> bool:
    """Whether the installed transformers loads a checkpoint in the dtype it was saved in."""
    version = importable_version("transformers")
    if version is None:
        return True  # nothing here loads it, so what the newest version would do
    return int(version.partition(".")[0]) >= 5


def _checkpoint_dtype(root: Path) -> str:
    # An adapter is added to its base, in the base's dtype.
    root = next((Path(base.path) for base in bases_of(root) if base.path), root)
    for directory, _ in module_directories(root):
        config = read_json(directory / "config.json")
        if isinstance(config, dict):
            named = str(config.get("dtype") or config.get("torch_dtype") or "")
            if named.removeprefix("torch.") in _DTYPES.values():
                return named.removeprefix("torch.")
        for file in weights_of(directory):
            if file.suffix == ".safetensors":
                for entry in read_header(file)[0].values():
                    if entry["dtype"] in _DTYPES:
                        return _DTYPES[entry["dtype"]]
    return "float32"
