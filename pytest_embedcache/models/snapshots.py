"""The first artifact: a model's files as the Hub published them, whole, on this machine.

What the Hub cache already holds is used where it is. What is missing or damaged is fetched by one
process, while the others wait. Nothing is asked of the network for a model that is on the disk.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import (
    FetchError,
    MissingExtraError,
    ModelNotFoundError,
    SnapshotError,
)
from pytest_embedcache.fingerprint import model_files
from pytest_embedcache.models.artifacts import Artifact, ArtifactStore, Built
from pytest_embedcache.models.hub import Fetcher
from pytest_embedcache.snapshot import Place, check, hub_cache, locate, problems
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import HashMemo

__all__ = ["damaged_blobs", "prepare_snapshot"]

_log = logging.getLogger(__name__)


def prepare_snapshot(spec: ModelSpec, artifacts: ArtifactStore, fetcher: Fetcher) -> Place:
    """Return where the files of `spec` are, verified; fetch them first if they are not here.

    Raises:
        ModelNotFoundError: There is no such model, or no such directory.
        SnapshotError: The files are incomplete or damaged, and could not be fetched again.
        FetchError: They are not here, and could not be fetched.
        LockTimeoutError: Another process is fetching them and did not finish in time.
    """
    place = locate(spec)
    if place.repository is None:
        check(spec.name, place)
        return place
    cache = _cache_of(spec, place)
    revision = place.commit if place.path and not spec.revision else spec.revision or "main"
    assert revision is not None

    def here(artifact: Artifact) -> bool:
        return artifact.root == place.path

    def build(_: Path) -> Built:
        found = _complete(spec, cache, revision, artifacts.memo, fetcher)
        assert found.path is not None
        return Built(
            model_files(found.path, trust_remote_code=True),
            root=found.path,
            details={"repository": found.repository, "commit": found.commit},
        )

    safe = re.sub(r"[^A-Za-z0-9._-]", "-", place.repository).lstrip("._-")
    key = f"{safe}-{digest(str(cache), place.repository, revision)[:12]}"
    artifact = artifacts.ensure(
        "snapshot", key, build, what=f"the files of {place.repository}", valid=here
    )
    return Place(place.repository, artifact.details["commit"], artifact.root)


def _cache_of(spec: ModelSpec, place: Place) -> Path:
    if place.path and os.path.isdir(os.path.expanduser(spec.name)):
        return Path(place.path).parents[2]  # <cache>/models--…/snapshots/<commit>
    return hub_cache(spec.cache_folder)


def _complete(
    spec: ModelSpec, cache: Path, revision: str, memo: HashMemo, fetcher: Fetcher
) -> Place:
    place = locate(spec)
    assert place.repository is not None
    found: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    if place.path is not None:
        found = problems(place.path)
        damaged = damaged_blobs(place.path, memo)
        if not found and not damaged:
            return place
        _log.warning(
            "Model %s in %s is fetched again: %s",
            place.repository,
            place.path,
            "; ".join(found + damaged),
        )
    try:
        fetcher.fetch(
            place.repository,
            revision,
            cache,
            token=spec.token,
            # A file that is cut off or flipped is there: without force it would be left alone.
            force=bool(place.path),
        )
    except (FetchError, ModelNotFoundError, MissingExtraError) as error:
        if place.path is None:
            raise
        remedy = f"It could not be fetched again: {error}"
        raise SnapshotError(spec.name, place.path, found + damaged, remedy) from error
    fetched = locate(spec)
    if fetched.path is None:
        raise FetchError(
            spec.name,
            f"after fetching, {cache} still has no snapshot of revision {revision!r}",
            "Check that the cache directory can be written, and run again.",
        )
    check(spec.name, fetched)
    return fetched


def damaged_blobs(path: str, memo: HashMemo) -> tuple[str, ...]:
    """Files of a snapshot whose content is not what the Hub published, one line each.

    The Hub cache names a blob by its hash: SHA-256 for large files, git's SHA-1 for others
    (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects). A snapshot of plain copies tells
    nothing, and passes.
    """
    found = []
    for name in model_files(path, trust_remote_code=True):
        file = Path(os.path.realpath(os.path.join(path, name)))
        if file.parent.name != "blobs":
            continue
        if re.fullmatch(r"[0-9a-f]{64}", file.name):
            large = name.endswith((".safetensors", ".bin"))
            actual = memo(file).sha256 if large else hashlib.sha256(file.read_bytes()).hexdigest()
        elif re.fullmatch(r"[0-9a-f]{40}", file.name):
            content = file.read_bytes()
            blob = b"blob %d\0" % len(content) + content
            actual = hashlib.sha1(blob, usedforsecurity=False).hexdigest()
        else:
            continue
        if actual != file.name:
            found.append(f"{name} does not have the content that the Hub published")
    return tuple(found)
