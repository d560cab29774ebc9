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
from typing import TYPE_CHECKING

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import (
    FetchError,
    MissingExtraError,
    ModelNotFoundError,
    SnapshotError,
)
from pytest_embedcache.fingerprint import model_files
from pytest_embedcache.layout import problems
from pytest_embedcache.models.artifacts import Artifact, ArtifactStore, Built
from pytest_embedcache.snapshot import (
    Place,
    bases_of,
    check,
    hub_cache,
    hub_cache_around,
    locate,
)
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import HashMemo

if TYPE_CHECKING:
    from pytest_embedcache.models.hub import Fetcher

__all__ = ["damaged_blobs", "prepare_snapshot"]

_log = logging.getLogger(__name__)

#: How a problem ends that needs no file to be fetched twice.
_MISSING = (" is missing", " is a link to nothing")


def prepare_snapshot(spec: ModelSpec, artifacts: ArtifactStore, fetcher: Fetcher | None) -> Place:
    """Return where the files of `spec` are, verified; fetch them first if they are not here.

    So are the models that an adapter among them was made for. Without a `fetcher` the Hub is asked.

    Raises:
        ModelNotFoundError: There is no such model, or no such directory.
        SnapshotError: The files are incomplete or damaged, and could not be fetched again.
        FetchError: They are not here, and could not be fetched.
        LockTimeoutError: Another process is fetching them and did not finish in time.
    """
    place = _prepare(spec, artifacts, fetcher)
    assert place.path is not None
    around = hub_cache_around(place.path)
    for base in bases_of(Path(place.path)):
        if base.path != place.path:
            folder = str(around) if around else None
            _prepare(
                ModelSpec(base.name, cache_folder=folder, token=spec.token), artifacts, fetcher
            )
    return place


def _prepare(spec: ModelSpec, artifacts: ArtifactStore, fetcher: Fetcher | None) -> Place:
    place = locate(spec)
    if place.repository is None:
        check(spec.name, place)
        return place
    around = hub_cache_around(place.path) if place.path else None
    cache = Path(os.path.realpath(around or hub_cache(spec.cache_folder)))
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", place.repository)[:80]
    name = f"hub-{safe}-{digest(str(cache), place.repository)[:12]}"
    what = f"the files of {place.repository}"
    if place.path is None:
        with artifacts.alone(name, what):
            place = locate(spec)  # somebody may have fetched it while we waited
            if place.path is None:
                place = _fetch(spec, place, cache, fetcher)
    return _verify(spec, place, cache, artifacts, fetcher, lock=name, what=what)


def _fetch(spec: ModelSpec, place: Place, cache: Path, fetcher: Fetcher | None) -> Place:
    assert place.repository is not None
    revision = spec.revision or "main"
    _asked(fetcher).fetch(place.repository, revision, cache, token=spec.token, force=False)
    fetched = locate(spec)
    if fetched.path is None:
        raise FetchError(
            spec.name,
            f"after fetching, {cache} still has no snapshot of revision {revision!r}",
            "Check that the cache directory can be written, and run again.",
        )
    return fetched


def _asked(fetcher: Fetcher | None) -> Fetcher:
    # Imported here: nearly always all files are here.
    from pytest_embedcache.models.hub import HubFetcher

    return fetcher or HubFetcher()


def _verify(
    spec: ModelSpec,
    place: Place,
    cache: Path,
    artifacts: ArtifactStore,
    fetcher: Fetcher | None,
    **options: str,
) -> Place:
    """`place`, whose files are whole: as an artifact says, or after a look at every byte."""
    assert place.path is not None
    assert place.commit is not None
    path = place.path
    # One artifact however the model was asked for: by name, by branch, by commit or by path.
    key = f"{options['lock']}-{place.commit[:12]}"

    def here(artifact: Artifact) -> bool:
        return artifact.root == path

    def build(_: Path) -> Built:
        # Of a commit nothing can go: a file that was there once is missing, needed or not.
        names, details = artifacts.recorded("snapshot", key)
        expected = names if spec.trust_remote_code else tuple(details.get("read", ()))
        _complete(spec, place, cache, expected, artifacts.memo, fetcher)
        read = model_files(path)
        return Built(model_files(path, trust_remote_code=True), path, {"read": read})

    artifacts.ensure("snapshot", key, build, valid=here, **options)
    return place


def _complete(
    spec: ModelSpec,
    place: Place,
    cache: Path,
    expected: tuple[str, ...],
    memo: HashMemo,
    fetcher: Fetcher | None,
) -> None:
    assert place.repository is not None
    assert place.path is not None
    assert place.commit is not None
    found = _troubles(place.path, expected, memo)
    if not found:
        return
    _log.warning(
        "Model %s in %s is fetched again: %s", place.repository, place.path, "; ".join(found)
    )
    try:
        _asked(fetcher).fetch(
            place.repository,
            place.commit,
            cache,
            token=spec.token,
            # A file that is cut off or flipped is there: without force it would be left alone.
            force=not all(line.endswith(_MISSING) for line in found),
        )
    except (FetchError, ModelNotFoundError, MissingExtraError) as error:
        remedy = f"It could not be fetched again: {error}"
        raise SnapshotError(spec.name, place.path, found, remedy) from error
    if found := _troubles(place.path, expected, memo):
        remedy = "It was fetched again and is the same: give another revision or another model."
        raise SnapshotError(spec.name, place.path, found, remedy)


def _troubles(path: str, expected: tuple[str, ...], memo: HashMemo) -> tuple[str, ...]:
    found = problems(path)
    gone = (name for name in expected if not os.path.exists(os.path.join(path, name)))
    found += tuple(line for name in gone if (line := f"{name} is missing") not in found)
    # Where the list of modules cannot be read, it is not known which files to look into.
    return found or damaged_blobs(path, memo)


def damaged_blobs(path: str, memo: HashMemo) -> tuple[str, ...]:
    """Files of a snapshot whose content is not what the Hub published, one line each.

    The Hub cache names a blob by its hash: SHA-256 for large files, git's SHA-1 for others
    (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects). A snapshot of plain copies tells
    nothing, and passes.
    """
    found = []
    for name in model_files(path, trust_remote_code=True):
        link = Path(path, name)
        file = link.resolve()
        if file.parent.name != "blobs":
            continue
        if re.fullmatch(r"[0-9a-f]{64}", file.name):
            large = name.endswith((".safetensors", ".bin"))
            actual = memo(link).sha256 if large else hashlib.sha256(file.read_bytes()).hexdigest()
        elif re.fullmatch(r"[0-9a-f]{40}", file.name):
            content = file.read_bytes()
            blob = b"blob %d\0" % len(content) + content
            actual = hashlib.sha1(blob, usedforsecurity=False).hexdigest()
        else:
            continue
        if actual != file.name:
            found.append(f"{name} does not have the content that the Hub published")
    return tuple(found)
