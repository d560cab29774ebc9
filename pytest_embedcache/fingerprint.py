"""The identity of the model behind a vector: SHA-256 over a versioned list of its parts.

In the list: modules.json, the modules' configurations (without provenance), the tokenizer, the
tensors of the weights that the backend reads, the dtype they are loaded in, the form, and the
code where remote code is trusted. Not in it: README, prompts (they are in a vector's key), weight
formats that are not read, device, batch size.

Only the standard library is used, so that a process that has the vectors needs no model.
"""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import NamedTuple

from pytest_embedcache.content import model_files, parts_of
from pytest_embedcache.dtypes import default_dtype, dtype_keyword, keeps_dtype
from pytest_embedcache.encoding import digest, is_hex
from pytest_embedcache.errors import ModelNotFoundError, SnapshotError
from pytest_embedcache.files import cache_directory, read_json, say_unusable, write_json
from pytest_embedcache.layout import code_repositories
from pytest_embedcache.snapshot import Place, bases_of, check, hub_cache_around, locate
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import HashMemo

__all__ = [
    "Fingerprint",
    "default_dtype",
    "dtype_keyword",
    "fake_fingerprint",
    "fingerprint_of",
    "is_fake",
    "model_files",
]

VERSION = "embedcache-model-1"
#: Where a repository keeps an export of its own.
SHIPPED = "onnx/model.onnx"
#: What the artifact of a prepared model holds beside the graph.
PREPARED = "embedcache.json"
#: With this the fingerprint of a fake begins; that of a real model does so once in 2**64.
_FAKE = "fa4e" * 4


def fake_fingerprint(*fields: str | bytes) -> str:
    """The fingerprint (64 hex digits) of a fake whose vectors these fields decide."""
    return _FAKE + digest("embedcache-fake", *fields)[len(_FAKE) :]


def is_fake(fingerprint: str) -> bool:
    """Whether this is the fingerprint of a fake, and not of a model."""
    return fingerprint.startswith(_FAKE)


class Fingerprint(NamedTuple):
    """`digest` (64 hex digits) and the `parts` that went in, as (label, short description)."""

    digest: str
    parts: tuple[tuple[str, str], ...]
    #: "content"; "remembered" where the files are gone; "prepared" where an artifact says it.
    source: str = "content"


def fingerprint_of(
    spec: ModelSpec,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    memo: HashMemo | None = None,
    place: Place | None = None,
) -> Fingerprint:
    """Return the fingerprint of `spec`, resolved or not; of what is at `place`, if that is given.

    Computed from the files where they are here. Where they are gone, the cache directory answers
    what was computed for that repository and commit when they were.

    Raises:
        ModelNotFoundError: Neither the files nor such a memory are here.
        SnapshotError: The files are incomplete or damaged.
    """
    if spec.backend == "onnx" and spec.path is not None:
        return _of_prepared(spec, spec.path)
    directory = cache_directory(cache_dir)
    place = place or locate(spec)
    if place.path is None:
        return _remembered(directory, spec, place)
    try:
        found = _of_files(spec, place, memo or _memo(directory))
    except SnapshotError:
        # A commit is one content for ever: what it was when it was whole, it will be again.
        if place.commit is None:
            raise
        with contextlib.suppress(ModelNotFoundError):
            return _remembered(directory, spec, place)
        raise
    if place.repository and place.commit:
        _remember(directory, spec, place, found)
    return found


def _of_prepared(spec: ModelSpec, path: str) -> Fingerprint:
    found = read_json(Path(path, PREPARED))
    digits = str(found.get("fingerprint")) if isinstance(found, dict) else ""
    if not is_hex(digits, 64):
        remedy = "Prepare it again: embedcache models prepare NAME."
        raise ModelNotFoundError(spec.name, "its prepared form is gone", remedy, (path,))
    return Fingerprint(digits, (("prepared", path),), "prepared")


def _of_files(spec: ModelSpec, place: Place, memo: HashMemo) -> Fingerprint:
    assert place.path is not None
    check(spec.name, place)
    root = Path(place.path)
    try:
        dtype = spec.dtype or default_dtype(place.path)
        parts = parts_of(root, trust_remote_code=spec.trust_remote_code, memo=memo)
        for base in bases_of(root):  # an adapter's vectors are also its base's
            parts += _parts_of_base(base, spec.trust_remote_code, memo)
        if spec.trust_remote_code:
            parts += _code_elsewhere(root, memo)
    except (OSError, ValueError) as error:
        remedy = "Check that its files can be read, and that nobody writes to them."
        raise SnapshotError(spec.name, place.path, (str(error),), remedy) from error
    if spec.form == "shipped":
        parts = _with_shipped(spec, root, parts, memo)
    parts += [("dtype", dtype), ("form", spec.form)]
    parts.sort()
    return Fingerprint(digest(VERSION, *(item for part in parts for item in part)), tuple(parts))


def _with_shipped(
    spec: ModelSpec, root: Path, parts: list[tuple[str, str]], memo: HashMemo
) -> list[tuple[str, str]]:
    """`parts` with the ONNX file of the model's own repository in place of torch's weights."""
    file = root / SHIPPED
    if not file.is_file():
        remedy = "Use another form, or a model whose repository has that file."
        raise SnapshotError(spec.name, str(root), (f"{SHIPPED} is missing",), remedy)
    kept = [part for part in parts if not part[0].endswith("weights")]
    beside = sorted(file.parent.glob(f"{file.name}_data*"))
    return kept + [(f"onnx/{f.name}", memo(f).sha256) for f in (file, *beside)]


def _parts_of_base(base: Place, trust: bool, memo: HashMemo) -> list[tuple[str, str]]:
    if base.path is None:
        raise ModelNotFoundError(
            base.name,
            "an adapter was made for it, and it is not on this machine",
            "Load the adapter once with network access.",
            base.looked_in,
        )
    inner = parts_of(Path(base.path), trust_remote_code=trust, memo=memo)
    return [(f"base: {label}", content) for label, content in inner]


def _code_elsewhere(root: Path, memo: HashMemo) -> list[tuple[str, str]]:
    """Code that a model takes from another repository, as far as it is on this machine."""
    around = hub_cache_around(str(root))
    parts = []
    for repository in sorted(code_repositories(root)):
        place = locate(ModelSpec(repository, cache_folder=str(around) if around else None))
        if place.path is not None:
            files = sorted(Path(place.path).glob("*.py"))
            parts += [(f"{repository}: {f.name}", memo(f).sha256) for f in files if f.is_file()]
    return parts


@functools.cache
def _memo(directory: Path) -> HashMemo:
    return HashMemo(directory)


def _memory(directory: Path, spec: ModelSpec, repository: str, revision: str) -> Path:
    asked = (repository, revision, spec.dtype or f"default:{keeps_dtype()}", spec.form)
    name = digest(VERSION, *asked, str(spec.trust_remote_code))[:32]
    return directory / "fingerprints" / f"{name}.json"


def _remember(directory: Path, spec: ModelSpec, place: Place, found: Fingerprint) -> None:
    assert place.repository is not None
    assert place.commit is not None
    entry = {"repository": place.repository, "commit": place.commit, "fingerprint": found.digest}
    revisions = {place.commit}
    if spec.path is None and not os.path.isdir(os.path.expanduser(spec.name)):
        # Under the branch too: where the Hub cache is gone, so is its note of what `main` was.
        revisions.add(spec.revision or "main")
    for revision in sorted(revisions):
        file = _memory(directory, spec, place.repository, revision)
        if read_json(file) != entry:
            try:
                write_json(file, entry)
            except OSError as error:
                say_unusable(directory, error)
                return


def _remembered(directory: Path, spec: ModelSpec, place: Place) -> Fingerprint:
    assert place.repository
    revision = place.commit or spec.revision or "main"
    entry = read_json(_memory(directory, spec, place.repository, revision))
    if isinstance(entry, dict) and entry.get("repository") == place.repository:
        found, commit = str(entry.get("fingerprint")), str(entry.get("commit"))
        if is_hex(found, 64) and commit == (place.commit or commit):
            return Fingerprint(found, (("commit", commit),), "remembered")
    raise ModelNotFoundError(
        spec.name,
        "its files are not on this machine and its fingerprint was never computed here",
        "Load the model once with network access, or give the directory of its files.",
        place.looked_in,
    )
