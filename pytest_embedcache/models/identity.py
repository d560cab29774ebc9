"""Which model a name means, known without loading it: what a vector store needs to answer."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_embedcache.content import model_files
from pytest_embedcache.dtypes import keeps_dtype
from pytest_embedcache.encoding import digest, is_hex
from pytest_embedcache.files import read_json, write_json
from pytest_embedcache.fingerprint import VERSION, fingerprint_of
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.metadata import ModelMetadata, read_metadata
from pytest_embedcache.snapshot import Place, locate
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import is_settled, stat_key

if TYPE_CHECKING:
    from pytest_embedcache.models.remote import RemoteModel

__all__ = ["Identity", "files_signature", "identify_snapshot"]


@dataclass(frozen=True)
class Identity:
    """A model as its files are now.

    Attributes:
        name: The one name of the model, for people.
        fingerprint: 64 hexadecimal digits.
        dtype: In which the model computes, and so returns its vectors.
        metadata: What its configuration says.
        signature: Equal to that of a loaded model as long as the files are the same; None where
            the files are gone, and only a store can answer.
        commit: Of a model from the Hub.
        remote: Of a model that is known by name only; None where its content is.
    """

    name: str
    fingerprint: str
    dtype: str
    metadata: ModelMetadata = field(default_factory=ModelMetadata)
    signature: str | None = None
    commit: str | None = field(default=None, compare=False)
    remote: RemoteModel | None = None


def files_signature(path: str, *, trust_remote_code: bool = False) -> str:
    """Changes when any file that decides a vector is written to (64 hexadecimal digits)."""
    return _look(path, trust_remote_code, time.time()).signature


class _Look(NamedTuple):
    """At the files as they stand; `settled` ones cannot change without a trace any more."""

    signature: str
    settled: bool


def _look(path: str, trust_remote_code: bool, now: float) -> _Look:
    names = model_files(path, trust_remote_code=trust_remote_code)
    keys = [stat_key(f"{path}/{name}") for name in names]
    stats = (f"{name}\0{key}" for name, key in zip(names, keys, strict=True))
    return _Look(digest(path, *stats), all(is_settled(key, now) for key in keys))


def identify_snapshot(spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
    """The identity of a model whose files are on this machine, or once were.

    Raises:
        ModelNotFoundError: They are not here and never were.
        SnapshotError: They are incomplete or damaged.
    """
    # Looked up once: a branch, or a link, may lead to another model a moment later.
    place = locate(spec.replace(name=spec.path, path=None) if spec.path else spec)
    path, directory = place.path, artifacts.directory
    known = _known_file(directory, spec, place)
    look: _Look | None = None
    for _ in range(3):
        now = artifacts.memo.clock()  # before the files are read
        look = _look(path, spec.trust_remote_code, now) if path is not None else None
        if known and look and (identity := _known(known, look, place)):
            return identity
        found = fingerprint_of(spec, cache_dir=directory.parent, memo=artifacts.memo, place=place)
        here = path is not None and found.source != "remembered"  # and whole
        metadata = read_metadata(path) if here and path else ModelMetadata()
        if path is None or look is None or look == _look(path, spec.trust_remote_code, now):
            break
    else:
        # Somebody writes there all the time. A model loaded from these files must not pass for the
        # one of this fingerprint.
        look = None
    # Two models of one fingerprint can still have different prompts.
    parts = dict(found.parts)
    commit = parts.get("commit") or place.commit
    name = digest(found.digest, place.repository or "", commit or "")
    file = directory / "metadata" / f"{name}.json"
    if not here:
        facts = read_json(file) or {}
        dtype = str(facts.get("dtype") or spec.dtype or "float32")
        metadata = ModelMetadata.from_dict(facts.get("metadata", {}))
        return Identity(place.name, found.digest, dtype, metadata, commit=commit)
    facts = {"dtype": parts["dtype"], "metadata": metadata.as_dict()}
    with contextlib.suppress(OSError):
        if place.repository and not file.exists():
            write_json(file, facts)  # only for the day when the files are gone
        # An adapter's base lies elsewhere, and is not among the files that were looked at.
        whole = not any(label.startswith("base: ") for label in parts)
        if known and look and look.settled and whole:
            write_json(known, {"signature": look.signature, "fingerprint": found.digest, **facts})
    signature = look.signature if look else None
    return Identity(place.name, found.digest, facts["dtype"], metadata, signature, commit)


def _known_file(directory: Path, spec: ModelSpec, place: Place) -> Path | None:
    """Where it is written down what the files at `place` are; None where they are not all of it."""
    if place.path is None or spec.form == "shipped" or spec.trust_remote_code:
        return None  # a graph beside these files, and code of other repositories, have part in it
    if spec.backend == "onnx" and spec.path is not None:
        return None  # its fingerprint is its artifact's
    dtype = spec.dtype or f"the default of transformers {'5' if keeps_dtype() else '4'}"
    return directory / "identities" / f"{digest(VERSION, place.path, spec.form, dtype)[:32]}.json"


def _known(file: Path, look: _Look, place: Place) -> Identity | None:
    """What was found when the files were as they are now; nothing of them is read."""
    facts = read_json(file)
    try:
        if facts is None or facts["signature"] != look.signature:
            return None
        fingerprint, dtype = facts["fingerprint"], facts["dtype"]
        metadata = ModelMetadata.from_dict(facts["metadata"])
    except (KeyError, TypeError, AttributeError):
        return None
    if not (is_hex(str(fingerprint), 64) and isinstance(dtype, str)):
        return None
    return Identity(place.name, fingerprint, dtype, metadata, look.signature, place.commit)
