"""An artifact for tests: two small files, by a builder that counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_embedcache.models.artifacts import Artifact, ArtifactStore, Built

CONTENT = {"model.bin": b"weights", "inner/config.json": b"{}"}


class Builder:
    """Builds `content`, and counts."""

    def __init__(self, content: dict[str, bytes] | None = None) -> None:
        self.content = CONTENT if content is None else content
        self.calls = 0

    def __call__(self, directory: Path) -> Built:
        self.calls += 1
        assert os.listdir(directory) == []
        for name, content in self.content.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        return Built(self.content, details={"call": self.calls})


def ensure(store: ArtifactStore, build: Callable[[Path], Built], **options: Any) -> Artifact:
    return store.ensure("export", "model-1", build, what="the export", **options)


def content_of(artifact: Artifact) -> dict[str, bytes]:
    return {name: Path(artifact.root, name).read_bytes() for name in artifact.files}


def home(store: ArtifactStore) -> Path:
    return store.directory / "artifacts" / "export" / "model-1"


def generations(store: ArtifactStore) -> list[str]:
    return sorted(entry.name for entry in home(store).iterdir() if entry.is_dir())
