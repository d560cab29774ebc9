"""One model for all workers of a run: the first that asks for a name says which one it is.

Without it a branch that moves in the middle of a run would be another model on some workers. The
note lies in the cache directory, below the name of the run; the controller takes it away.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_embedcache import notices
from pytest_embedcache.encoding import digest
from pytest_embedcache.files import make_directory, read_json
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.plugin.run import Run
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["forget", "pinned"]


def pinned(run: Run, spec: ModelSpec, make: Callable[[ModelSpec], CachedModel]) -> CachedModel:
    """The model of `spec` as the first worker of this run saw it."""
    if run.name is None:
        return make(spec)
    note = _directory(run, run.name) / f"{digest(*map(str, _asked(spec)))[:32]}.json"
    found = read_json(note)
    if found is None:
        model = make(spec)
        content = {"revision": model.spec.revision, "fingerprint": model.fingerprint}
        with contextlib.suppress(OSError):  # then each worker finds out for itself
            _write_first(note, json.dumps(content).encode())
        found = read_json(note) or content  # another worker may have been quicker
        if found == content:
            return model
    model = make(spec.replace(revision=found["revision"]) if found["revision"] else spec)
    if model.fingerprint != found["fingerprint"]:
        notices.degraded(f"the files of {model.name} changed during the run")
    return model


def forget(run: Run, name: str) -> None:
    """Remove the notes of a run that has ended."""
    shutil.rmtree(_directory(run, name), ignore_errors=True)


def _directory(run: Run, name: str) -> Path:
    return run.directory() / "runs" / digest(name)[:32]


def _asked(spec: ModelSpec) -> tuple[object, ...]:
    return (spec.name, spec.revision, spec.backend, spec.form, spec.dtype, spec.trust_remote_code)


def _write_first(path: Path, content: bytes) -> None:
    """Write a file unless there is one; it appears whole."""
    make_directory(path.parent)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
