"""The cache directory, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache import notices

__all__ = [
    "cache_directory",
    "flush_directory",
    "make_directory",
    "read_json",
    "say_unusable",
    "user_directory",
    "write_atomically",
    "write_json",
]

#: Everything we store lies below a directory of this name: no version touches another's files.
FORMAT = "v1"


def cache_directory(directory: str | os.PathLike[str] | None = None) -> Path:
    """Return the versioned cache directory, without creating it.

    `directory`, else the environment variable `EMBEDCACHE_DIR`, else the platform's cache
    directory for the user.
    """
    chosen = directory or os.environ.get("EMBEDCACHE_DIR") or user_directory()
    return Path(os.path.abspath(os.path.expanduser(chosen))) / FORMAT


def user_directory() -> str:
    """The platform's cache directory for the user, whatever the environment says of ours."""
    # Imported here: most processes are told their directory, and the import costs 18 ms.
    import platformdirs

    return platformdirs.user_cache_dir("embedcache", appauthor=False)


def say_unusable(directory: Path, error: OSError) -> None:
    """Say once that nothing can be kept in the versioned cache directory."""
    notices.degraded(
        f"the cache directory {directory} cannot be used ({error.strerror or error}); models are "
        "prepared anew in every process. Choose another with --embedcache-dir or EMBEDCACHE_DIR"
    )


def make_directory(path: Path) -> Path:
    """Create `path` and its missing parents for the user alone (0700).

    A directory that exists keeps its mode; one in which others may write is warned about, since
    they could replace what is loaded from it.
    """
    missing = []
    for candidate in (path, *path.parents):
        if candidate.exists():
            break
        missing.append(candidate)
    for candidate in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was quicker
            candidate.mkdir(mode=0o700)
    if os.name == "posix":
        for directory in _up_to_the_cache_directory(path):
            _warn_if_others_write(directory)
    return path


def _up_to_the_cache_directory(path: Path) -> Iterator[Path]:
    """`path` and, below a cache directory, what is above it: who can write there can swap it."""
    yield path
    parents = list(path.parents)
    versioned = next((i for i, p in enumerate((path, *parents)) if p.name == FORMAT), None)
    if versioned is not None:
        yield from parents[: versioned + 1]


def _warn_if_others_write(directory: Path) -> None:
    mode = directory.stat().st_mode
    # In a directory with the sticky bit, such as /tmp, others cannot move what is ours.
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        notices.degraded(
            f"the cache directory {directory} can be written by others "
            f"(mode {stat.S_IMODE(mode):o}); use one of your own, or: chmod go-w {directory}"
        )


def write_atomically(path: Path, content: bytes, *, lasting: bool = False) -> None:
    """Write `content` so that `path` holds either what it held before or all of `content`.

    Temporary file in the same directory, flush to the disk, then `os.replace`; the file is
    readable by the user alone. With `lasting` also a loss of power right after it leaves `content`,
    where without it `path` may hold what it held before.
    """
    make_directory(path.parent)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if lasting:
        flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Let the names in a directory be on the disk, where the system has a way to do that."""
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems of networks cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any, *, lasting: bool = False) -> None:
    """`write_atomically`, as indented JSON."""
    content = json.dumps(value, indent=1, sort_keys=True).encode()
    write_atomically(path, content, lasting=lasting)


def read_json(path: Path) -> Any:
    """The JSON value in `path`, or None where there is no readable JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # the last from a file of nothing but brackets
        return None
