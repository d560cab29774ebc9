"""Prepared models on disk: built by one process, published whole, verified when used.

    artifacts/<kind>/<key>/manifest.json      names the generation and every file's hash
    artifacts/<kind>/<key>/<generation>/…     what was built; unused until the manifest names it
    locks/<kind>--<key>.lock                  one builder at a time

An artifact may also stay where it is (`Built.root`), as a snapshot in the Hub cache does.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import string
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pytest_embedcache.errors import ArtifactError, LockTimeoutError
from pytest_embedcache.files import cache_directory, make_directory, say_unusable
from pytest_embedcache.models.manifest import Manifest
from pytest_embedcache.weights import HashMemo

__all__ = ["Artifact", "ArtifactStore", "Built"]

_log = logging.getLogger(__name__)
_FIRST = frozenset(string.ascii_letters + string.digits)
_FURTHER = frozenset("._-") | _FIRST
#: What a directory says that takes nothing more.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_NO_DETAILS: Mapping[str, Any] = {}


class Built(NamedTuple):
    """What a builder made: `files` below `root`, or below the directory it was given if None."""

    files: Iterable[str]
    root: str | None = None
    details: Mapping[str, Any] = _NO_DETAILS


class Artifact(NamedTuple):
    """A verified artifact: `files` (sorted, relative) below `root`, and the builder's details."""

    kind: str
    key: str
    root: str
    files: tuple[str, ...]
    details: Mapping[str, Any]


class ArtifactStore:
    """The machine's prepared models, below the versioned cache directory.

    Args:
        directory: The cache directory; `None` is the default one.
        lock_timeout: Seconds to wait for another process's preparation; `None` asks
            `EMBEDCACHE_LOCK_TIMEOUT`.
        announce_after: Seconds of waiting before a line names the holder; `None` is the usual.

    Attributes:
        built: Preparations made through this object.
        corrupt: Artifacts found damaged.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        lock_timeout: float | None = None,
        announce_after: float | None = None,
    ) -> None:
        self.directory = cache_directory(directory)
        self.memo = HashMemo(self.directory)
        self.built = 0
        self.corrupt = 0
        self._timeout = lock_timeout
        self._announce_after = announce_after

    def get(self, kind: str, key: str) -> Artifact | None:
        """The published artifact, or None where there is none, or none whose files are sound.

        Takes no lock. A file whose size, times and inode are those of the manifest is sound; any
        other is hashed again.
        """
        directory = self._home(kind, key)
        try:
            manifest = Manifest.read(directory)
            if manifest is None:
                return None
            root = manifest.absolute_root(directory)
            moved = manifest.changed(root)
            for name in moved:
                if self._sha256(os.path.join(root, name)) != manifest.files[name]["sha256"]:
                    raise ValueError(f"{name} has changed")
            found = Artifact(kind, key, root, tuple(sorted(manifest.files)), manifest.details)
        except (KeyError, TypeError, ValueError, OSError) as error:
            self.corrupt += 1
            _log.info("Artifact %s/%s is not used: %s", kind, key, error)
            return None
        if moved:
            self._adopt(found, instead_of=manifest)
        return found

    def recorded(self, kind: str, key: str) -> tuple[tuple[str, ...], Mapping[str, Any]]:
        """Names of files and details of what was published last, be it sound or not."""
        with contextlib.suppress(ValueError):
            if manifest := Manifest.read(self._home(kind, key)):
                return tuple(manifest.files), manifest.details
        return (), {}

    @contextlib.contextmanager
    def alone(self, name: str, what: str) -> Iterator[bool]:
        """Hold the machine's lock `name`, while preparing `what`.

        Yields False, and says so once, where the cache directory cannot be used and nobody is
        kept away. Raises `LockTimeoutError`.
        """
        # Imported here, as everything that only a preparation needs: nearly always all is there.
        from pytest_embedcache.models import locking

        timeout = locking.default_lock_timeout() if self._timeout is None else self._timeout
        announce_after = self._announce_after
        if announce_after is None:
            announce_after = locking.ANNOUNCE_AFTER
        path = self.directory / "locks" / f"{name}.lock"
        with contextlib.ExitStack() as stack:
            try:
                lock = locking.machine_lock(
                    path, what, timeout=timeout, announce_after=announce_after
                )
                stack.enter_context(lock)
                held = True
            except LockTimeoutError:
                raise
            except OSError as error:
                say_unusable(self.directory, error)
                held = False
            yield held

    def ensure(
        self,
        kind: str,
        key: str,
        build: Callable[[Path], Built],
        *,
        what: str,
        valid: Callable[[Artifact], bool] = lambda artifact: True,
        lock: str | None = None,
    ) -> Artifact:
        """The artifact, built by this process if no other has.

        `build` gets an empty directory and is called with the artifact's lock held, after a second
        look. `what` names the work for those who wait. `valid` may refuse a published artifact
        that no longer is the one wanted. `lock` names a lock that several artifacts share. Where
        the cache directory cannot be used, or is full, the artifact is built for this process
        alone, and that is said.

        Raises:
            LockTimeoutError: Another process did not finish in time.
            ArtifactError: `build` named a file that it did not make.
            Exception: Whatever `build` raises; nothing is published then.
        """
        found = self.get(kind, key)
        if found is not None and valid(found):
            return found
        with self.alone(lock or f"{kind}--{key}", what) as held:
            if not held:
                return self._without_directory(kind, key, build)
            found = self.get(kind, key)
            if found is not None and valid(found):
                return found
            try:
                payload = self._new_generation(kind, key)
            except OSError as error:
                say_unusable(self.directory, error)
                return self._without_directory(kind, key, build)
            try:
                return self._publish(kind, key, payload, build(payload))
            except BaseException as error:
                shutil.rmtree(payload, ignore_errors=True)
                if not (isinstance(error, OSError) and error.errno in _NO_ROOM):
                    raise
                say_unusable(self.directory, error)
            return self._without_directory(kind, key, build)

    def remove(self, kind: str, key: str) -> bool:
        """Forget an artifact; True if there was one. Files that it left in place stay."""
        directory = self._home(kind, key)
        existed = directory.exists()
        with contextlib.suppress(OSError):
            (directory / "manifest.json").unlink()
        shutil.rmtree(directory, ignore_errors=True)
        return existed

    def _home(self, kind: str, key: str) -> Path:
        for part in (kind, key):
            if part[:1] not in _FIRST or not _FURTHER.issuperset(part):
                raise ArtifactError(part, "this is no name for an artifact", "Use [A-Za-z0-9._-].")
        return self.directory / "artifacts" / kind / key

    def _new_generation(self, kind: str, key: str) -> Path:
        from pytest_embedcache.models.generations import new_generation, remove_abandoned

        directory = make_directory(self._home(kind, key))
        current = None
        with contextlib.suppress(ValueError):
            manifest = Manifest.read(directory)
            current = manifest.root if manifest else None
        remove_abandoned(directory, keep=current)
        return new_generation(directory)

    def _publish(self, kind: str, key: str, payload: Path, built: Built) -> Artifact:
        artifact = _made(kind, key, str(payload), built)
        if built.root is None:
            for name in artifact.files:
                _flush(os.path.join(artifact.root, name))
        else:
            shutil.rmtree(payload, ignore_errors=True)
        self.built += 1
        try:
            self._write_manifest(artifact)
        except OSError as error:
            # The disk is full, say: what was built serves this process, and the next builds anew.
            say_unusable(self.directory, error)
        return artifact

    def _write_manifest(self, artifact: Artifact) -> None:
        described = Manifest.describe(artifact.root, artifact.files, artifact.details, self._sha256)
        described.write(self._home(artifact.kind, artifact.key))

    def _adopt(self, artifact: Artifact, *, instead_of: Manifest) -> None:
        """Files were copied or touched and are the same bytes: do not hash them every time."""
        # Without the lock, so not over what somebody published meanwhile.
        with contextlib.suppress(OSError, ValueError):
            if Manifest.read(self._home(artifact.kind, artifact.key)) == instead_of:
                self._write_manifest(artifact)

    def _sha256(self, path: str) -> str:
        if path.endswith((".safetensors", ".bin")):
            return self.memo(Path(path)).sha256  # also what a fingerprint needs: read once
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def _without_directory(self, kind: str, key: str, build: Callable[[Path], Built]) -> Artifact:
        try:
            temporary = tempfile.mkdtemp(prefix="embedcache-")
        except OSError:
            # Nothing can be written at all: a builder that only looks at files does without.
            temporary = os.path.join(os.devnull, "embedcache")
        try:
            built = build(Path(temporary))
            artifact = _made(kind, key, temporary, built)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self.built += 1
        weakref.finalize(self, _remove_own, temporary, os.getpid())
        return artifact


def _made(kind: str, key: str, directory: str, built: Built) -> Artifact:
    root = built.root or directory
    files = tuple(sorted(built.files))
    missing = [name for name in files if not os.path.isfile(os.path.join(root, name))]
    if missing:
        raise ArtifactError(key, f"{missing[0]} was not made", "Run again.")
    return Artifact(kind, key, root, files, built.details)


def _remove_own(directory: str, pid: int) -> None:
    if os.getpid() == pid:  # a forked child ends earlier than the one that made it
        shutil.rmtree(directory, ignore_errors=True)


def _flush(path: str) -> None:
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
