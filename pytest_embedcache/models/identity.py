"""Which model a name means, known without loading it: what a vector store needs to answer."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_embedcache.encoding import digest
from pytest_embedcache.files import read_json, write_json
from pytest_embedcache.fingerprint import fingerprint_of, model_files
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.metadata import ModelMetadata, read_metadata
from pytest_embedcache.snapshot import locate
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import stat_key

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
    names = model_files(path, trust_remote_code=trust_remote_code)
    stats = (f"{name}\0{stat_key(f'{path}/{name}')}" for name in names)
    return digest(path, *stats)


def identify_snapshot(spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
    """The identity of a model whose files are on this machine, or once were.

    Raises:
        ModelNotFoundError: They are not here and never were.
        SnapshotError: They are incomplete or damaged.
    """
    # Looked up once: a branch, or a link, may lead to another model a moment later.
    place = locate(spec.replace(name=spec.path, path=None) if spec.path else spec)
    directory = artifacts.directory
    for _ in range(3):
        signature = _signature(place.path, spec)
        found = fingerprint_of(spec, cache_dir=directory.parent, memo=artifacts.memo, place=place)
        here = place.path is not None and found.source != "remembered"  # and whole
        metadata = read_metadata(place.path) if here and place.path else ModelMetadata()
        if _signature(place.path, spec) == signature:
            break
    else:
        # Somebody writes there all the time. A model loaded from these files must not pass for the
        # one of this fingerprint.
        signature = None
    # Two models of one fingerprint can still have different prompts.
    commit = dict(found.parts).get("commit") or place.commit
    name = digest(found.digest, place.repository or "", commit or "")
    file = directory / "metadata" / f"{name}.json"
    if not here:
        facts = read_json(file) or {}
        dtype = str(facts.get("dtype") or spec.dtype or "float32")
        metadata = ModelMetadata.from_dict(facts.get("metadata", {}))
        return Identity(place.name, found.digest, dtype, metadata, commit=commit)
    dtype = dict(found.parts)["dtype"]
    if place.repository and not file.exists():
        with contextlib.suppress(OSError):  # only for the day when the files are gone
            write_json(file, {"dtype": dtype, "metadata": metadata.as_dict()})
    return Identity(place.name, found.digest, dtype, metadata, signature, commit)


def _signature(path: str | None, spec: ModelSpec) -> str | None:
    if path is None:
        return None
    return files_signature(path, trust_remote_code=spec.trust_remote_code)
