"""What is prepared on this machine: to be listed, and to be removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.manifest import Manifest
from pytest_embedcache.models.onnx.published import form_kinds
from pytest_embedcache.snapshot import repository_of

__all__ = ["Prepared", "prepared_models", "remove_prepared"]


@dataclass(frozen=True)
class Prepared:
    """An artifact of the backend `onnx`.

    Attributes:
        kind, key: Where the artifact store keeps it.
        name: Of the model that it was made of.
        commit: Of a model from the Hub.
        form: As in `ModelSpec`.
        fingerprint: Of its vectors.
        bytes: Size of its files.
        made: When it was published, in seconds since the epoch.
        refused: Why there is none, where the model cannot be prepared.
        details: What was measured when it was made: the `difference` from torch, or the agreement
            with the float32 form (`cosine_mean`, `cosine_worst`, `same_nearest`), over `texts`.
    """

    kind: str
    key: str
    name: str
    commit: str | None
    form: str
    fingerprint: str
    bytes: int
    made: float
    refused: str | None
    details: Mapping[str, Any]


def prepared_models(artifacts: ArtifactStore) -> list[Prepared]:
    """All, by name and form; what cannot be read is left out, as it is not used either."""
    return sorted(_found(artifacts), key=lambda one: (one.name, one.form, one.made))


def remove_prepared(artifacts: ArtifactStore, name: str, form: str | None = None) -> list[Prepared]:
    """Remove what was prepared of the model `name`, or one form of it; returns what went.

    `name` is short or full, or a directory. A process that has one loaded keeps it until it ends.
    """
    names = {name, repository_of(name), os.path.realpath(os.path.expanduser(name))}
    removed = [
        one for one in prepared_models(artifacts) if one.name in names and form in (None, one.form)
    ]
    for one in removed:
        artifacts.remove(one.kind, one.key)
    return removed


def _found(artifacts: ArtifactStore) -> Iterator[Prepared]:
    for kind in form_kinds():
        folder = artifacts.directory / "artifacts" / kind
        for home in sorted(folder.iterdir()) if folder.is_dir() else ():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if (manifest := Manifest.read(home)) is not None:
                    yield _of(kind, home, manifest)


def _of(kind: str, home: Path, manifest: Manifest) -> Prepared:
    details = dict(manifest.details)
    return Prepared(
        kind=kind,
        key=home.name,
        name=details.pop("name"),
        commit=details.pop("commit"),
        form=details.pop("form"),
        fingerprint=details.pop("fingerprint"),
        bytes=sum(file["stat"][0] for file in manifest.files.values()),
        made=(home / "manifest.json").stat().st_mtime,
        refused=details.pop("refused", None),
        details=details,
    )
