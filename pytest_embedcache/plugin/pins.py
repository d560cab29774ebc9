"""One model for all workers of a run: the first that asks for a name says which one it is.

Without it a branch that moves in the middle of a run would be another model on some workers. So in
a distributed run the table of backends is seen through notes in the cache directory, which the
controller takes away: fixtures, `get_model` and `ModelRegistry.get` all go through it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache import notices
from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import ModelNotFoundError
from pytest_embedcache.files import make_directory, read_json
from pytest_embedcache.snapshot import locate
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.models.artifacts import ArtifactStore
    from pytest_embedcache.models.backends import Backend
    from pytest_embedcache.models.identity import Identity

__all__ = ["PinnedBackends", "Pins", "forget"]

#: Seconds after which the notes of a run whose controller was killed are swept away.
_ABANDONED = 7 * 86400


class Pins:
    """The notes of one run: what the first process found, for all.

    Where they cannot be kept, each process finds out for itself.

    Args:
        directory: The versioned cache directory.
        run: The name of the run.
    """

    def __init__(self, directory: Path, run: str) -> None:
        self._directory = _of(directory, run)

    def commit(self, spec: ModelSpec) -> str | None:
        """The commit that the name and revision of `spec` mean, if that has been said."""
        found = self._read("commit", *_branch(spec))
        return found if found is not None and re.fullmatch("[0-9a-f]{40}", found) else None

    def settle_commit(self, spec: ModelSpec, commit: str) -> str:
        """Say that it is `commit`, unless another process was quicker; returns what holds."""
        self._write("commit", *_branch(spec), content=commit)
        return self.commit(spec) or commit

    def settle_fingerprint(self, spec: ModelSpec, fingerprint: str) -> str:
        """The same for the fingerprint of `spec`."""
        asked = (*_branch(spec), spec.form, str(spec.dtype), str(spec.trust_remote_code))
        self._write("fingerprint", *asked, content=fingerprint)
        return self._read("fingerprint", *asked) or fingerprint

    def _path(self, *asked: str) -> Path:
        return self._directory / f"{digest(*asked)[:32]}.json"

    def _read(self, *asked: str) -> str | None:
        found = read_json(self._path(*asked))
        return found if isinstance(found, str) else None

    def _write(self, *asked: str, content: str) -> None:
        with contextlib.suppress(OSError):
            _write_first(self._path(*asked), json.dumps(content).encode())


class PinnedBackends(Mapping[str, "Backend"]):
    """A table of backends whose models are those of the notes; rows are looked up when needed."""

    def __init__(self, table: Mapping[str, Backend], pins: Pins) -> None:
        self._table = table
        self._pins = pins

    def __getitem__(self, name: str) -> Backend:
        return _Pinned(self._table[name], self._pins)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


class _Pinned:
    """A backend; a name that a branch leads to is resolved once in a run."""

    def __init__(self, backend: Backend, pins: Pins) -> None:
        self._backend = backend
        self._pins = pins

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        commit = self._pins.commit(spec)
        if commit is not None:
            return self._backend.prepare(spec.replace(revision=commit), artifacts)
        resolved = self._backend.prepare(spec, artifacts)
        if resolved.revision is None:
            return resolved
        settled = self._pins.settle_commit(spec, resolved.revision)
        if settled == resolved.revision:
            return resolved
        return self._backend.prepare(spec.replace(revision=settled), artifacts)

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        if spec.path is not None:  # resolved
            return self._backend.identify(spec, artifacts)
        found = self._identify(spec, artifacts)
        if self._pins.settle_fingerprint(spec, found.fingerprint) != found.fingerprint:
            notices.degraded(f"the files of {found.name} changed during the run")
        return found

    def _identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        commit = self._pins.commit(spec)
        if commit is None:
            # By the branch: what it is, is remembered for a day when the files are gone.
            found = self._backend.identify(spec, artifacts)
            if found.commit is None:
                return found
            commit = self._pins.settle_commit(spec, found.commit)
            if commit == found.commit:
                return found
        return self._backend.identify(spec.replace(revision=commit), artifacts)

    def signature(self, spec: ModelSpec) -> str | None:
        return self._backend.signature(spec)

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        return self._backend.state(model)

    def import_libraries(self) -> bool:
        return self._backend.import_libraries()

    def load(self, spec: ModelSpec) -> Any:
        return self._backend.load(spec)


def forget(directory: Path, run: str) -> None:
    """Remove the notes of a run that has ended, and of those that never came to their end."""
    ended = _of(directory, run)
    shutil.rmtree(ended, ignore_errors=True)
    with contextlib.suppress(OSError):
        for other in ended.parent.iterdir():
            if time.time() - other.stat().st_mtime > _ABANDONED:
                shutil.rmtree(other, ignore_errors=True)


def _of(directory: Path, run: str) -> Path:
    return directory / "runs" / digest(run)[:32]


def _branch(spec: ModelSpec) -> tuple[str, ...]:
    """What decides which commit is meant; one for short and full name."""
    try:
        name = locate(spec).repository
    except ModelNotFoundError:
        name = None
    return (spec.backend, name or spec.name, spec.revision or "main", spec.cache_folder or "")


def _write_first(path: Path, content: bytes) -> None:
    """Write a file unless there is one; it appears whole."""
    make_directory(path.parent)
    handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links: nearly as good
            if not path.exists():
                os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
