"""Prepared models on disk: built by one process, published whole, verified when used.

    artifacts/<kind>/<key>/manifest.json      names the generation and every file's hash
    artifacts/<kind>/<key>/<generation>/…     what was built; unused until the manifest names it
    locks/<kind>--<key>.lock                  one builder at a time

An artifact may also stay where it is (`Built.root`), as a snapshot in the Hub cache does.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_embedcache import notices
from pytest_embedcache.errors import ArtifactError, LockTimeoutError
from pytest_embedcache.files import cache_directory, make_directory, read_json, write_json
from pytest_embedcache.models.locking import ANNOUNCE_AFTER, default_lock_timeout, machine_lock
from pytest_embedcache.weights import HashMemo, stat_key

__all__ = ["Artifact", "ArtifactStore", "Built"]

_log = logging.getLogger(__name__)
_MANIFEST_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Built:
    """What a builder made: `files` below `root`, or below the directory it was given if None."""

    files: Iterable[str]
    root: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """A verified artifact: `files` (sorted, relative) below `root`, and the builder's details."""

    kind: str
    key: str
    root: str
    files: tuple[str, ...]
    details: dict[str, Any]


class ArtifactStore:
    """The machine's prepared models, below the versioned cache directory.

    Args:
        directory: The cache directory; `None` is the default one.
        lock_timeout: Seconds to wait for another process's preparation; `None` asks
            `EMBEDCACHE_LOCK_TIMEOUT`.
        announce_after: Seconds of waiting before a line names the holder.

    Attributes:
        built: Preparations made through this object.
        corrupt: Artifacts found damaged.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        lock_timeout: float | None = None,
        announce_after: float = ANNOUNCE_AFTER,
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
        manifest = read_json(directory / "manifest.json")
        try:
            if manifest["format"] != _MANIFEST_FORMAT:
                return None
            root = os.path.join(directory, manifest["root"])  # an absolute root replaces
            files: dict[str, Any] = manifest["files"]
            moved = [name for name in files if not _unchanged(root, name, files[name]["stat"])]
            for name in moved:
                if self._sha256(os.path.join(root, name)) != files[name]["sha256"]:
                    raise ValueError(f"{name} has changed")
            found = Artifact(kind, key, root, tuple(sorted(files)), dict(manifest["details"]))
        except (KeyError, TypeError, ValueError, OSError) as error:
            if manifest is not None:
                self.corrupt += 1
                _log.info("Artifact %s/%s is not used: %s", kind, key, error)
            return None
        if moved:  # copied or touched, but the same bytes: do not hash them every time
            with contextlib.suppress(OSError):
                self._write_manifest(found)
        return found

    def ensure(
        self,
        kind: str,
        key: str,
        build: Callable[[Path], Built],
        *,
        what: str,
        valid: Callable[[Artifact], bool] = lambda artifact: True,
    ) -> Artifact:
        """The artifact, built by this process if no other has.

        `build` gets an empty directory and is called with the artifact's lock held, after a second
        look. `what` names the work for those who wait. `valid` may refuse a published artifact
        that no longer is the one wanted. Where the cache directory cannot be used, the artifact is
        built for this process alone, and that is said.

        Raises:
            LockTimeoutError: Another process did not finish in time.
            ArtifactError: `build` named a file that it did not make.
            Exception: Whatever `build` raises; nothing is published then.
        """
        found = self.get(kind, key)
        if found is not None and valid(found):
            return found
        lock = self.directory / "locks" / f"{kind}--{key}.lock"
        timeout = default_lock_timeout() if self._timeout is None else self._timeout
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(
                    machine_lock(lock, what, timeout=timeout, announce_after=self._announce_after)
                )
                payload = self._new_generation(kind, key)
            except OSError as error:
                if isinstance(error, LockTimeoutError):
                    raise
                return self._without_directory(kind, key, build, error)
            found = self.get(kind, key)
            if found is not None and valid(found):
                shutil.rmtree(payload, ignore_errors=True)
                return found
            try:
                return self._publish(kind, key, payload, build(payload))
            except BaseException:
                shutil.rmtree(payload, ignore_errors=True)
                raise

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
            if not _NAME.fullmatch(part):
                raise ArtifactError(part, "this is no name for an artifact", "Use [A-Za-z0-9._-].")
        return self.directory / "artifacts" / kind / key

    def _new_generation(self, kind: str, key: str) -> Path:
        directory = make_directory(self._home(kind, key))
        manifest = read_json(directory / "manifest.json")
        current = manifest.get("root") if isinstance(manifest, dict) else None
        for leftover in directory.iterdir():  # of builders that were killed; we hold the lock
            if leftover.is_dir() and leftover.name != current:
                shutil.rmtree(leftover, ignore_errors=True)
        return make_directory(directory / f"{os.getpid()}-{secrets.token_hex(4)}")

    def _publish(self, kind: str, key: str, payload: Path, built: Built) -> Artifact:
        root = built.root or str(payload)
        files = tuple(sorted(built.files))
        missing = [name for name in files if not os.path.isfile(os.path.join(root, name))]
        if missing:
            raise ArtifactError(key, f"{missing[0]} was not made", "Run again.")
        if built.root is None:
            for name in files:
                _flush(os.path.join(root, name))
        else:
            shutil.rmtree(payload, ignore_errors=True)
        artifact = Artifact(kind, key, root, files, built.details)
        self.built += 1
        try:
            self._write_manifest(artifact)
        except OSError as error:
            # The disk is full, say: what was built serves this process, and the next builds anew.
            self._say_unusable(error)
        return artifact

    def _write_manifest(self, artifact: Artifact) -> None:
        directory = self._home(artifact.kind, artifact.key)
        root = artifact.root
        inside = os.path.dirname(root) == str(directory)
        files = {}
        for name in artifact.files:
            path = os.path.join(root, name)
            files[name] = {"stat": list(stat_key(path)), "sha256": self._sha256(path)}
        manifest = {
            "format": _MANIFEST_FORMAT,
            "root": os.path.basename(root) if inside else root,
            "files": files,
            "details": artifact.details,
        }
        write_json(directory / "manifest.json", manifest)

    def _sha256(self, path: str) -> str:
        if path.endswith((".safetensors", ".bin")):
            return self.memo(Path(path)).sha256  # also what a fingerprint needs: read once
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def _without_directory(
        self, kind: str, key: str, build: Callable[[Path], Built], error: OSError
    ) -> Artifact:
        self._say_unusable(error)
        temporary = tempfile.mkdtemp(prefix="embedcache-")
        weakref.finalize(self, shutil.rmtree, temporary, True)
        built = build(Path(temporary))
        self.built += 1
        root = built.root or temporary
        return Artifact(kind, key, root, tuple(sorted(built.files)), built.details)

    def _say_unusable(self, error: OSError) -> None:
        notices.degraded(
            f"the cache directory {self.directory} cannot be used ({error.strerror or error}); "
            "models are prepared anew in every process. Choose another with --embedcache-dir or "
            "EMBEDCACHE_DIR"
        )


def _unchanged(root: str, name: str, recorded: list[int]) -> bool:
    try:
        return list(stat_key(os.path.join(root, name))) == recorded
    except FileNotFoundError:
        raise ValueError(f"{name} is gone") from None


def _flush(path: str) -> None:
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
