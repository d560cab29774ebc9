"""For the conftest of a suite that is itself under test: a model that needs no torch.

`TOY_LOG` names a file to which every load and every import of the toys adds a line; a model whose
name has `broken` in it cannot be loaded.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import ModelLoadError
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends import BACKENDS
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.testing.fake_model import fake_vector

DIMENSION = 8

# As where they are not installed: what runs on toys needs neither, and every environment shows it,
# not only the one that has none.
for package in ("torch", "transformers"):
    sys.modules.setdefault(package, None)  # type: ignore[arg-type]


def note(*words: object) -> None:
    """Add a line to the log, in one write: several workers do."""
    if path := os.environ.get("TOY_LOG"):
        with open(path, "a", encoding="utf-8") as log:
            log.write(" ".join(map(str, (*words, os.getpid()))) + "\n")


class Model:
    """As much of a SentenceTransformer as a CachedModel uses."""

    max_seq_length = 256
    truncate_dim = None
    default_prompt_name = None
    similarity_fn_name = "cosine"

    def __init__(self, name: str, device: str) -> None:
        self.name = name
        self.device = device
        self.prompts: dict[str, str] = {}

    def encode(self, texts: Any, **options: Any) -> Any:
        import numpy as np

        if isinstance(texts, str):
            return fake_vector(self.name, texts, DIMENSION)
        return np.stack([fake_vector(self.name, text, DIMENSION) for text in texts])


class Backend:
    """Every name is a model."""

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        return spec.replace(
            path=f"toy:{spec.name}", device=spec.device or "cpu", dtype=spec.dtype or "float32"
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        metadata = ModelMetadata(dimension=DIMENSION, max_seq_length=256)
        return Identity(spec.name, digest("toy", spec.name), "float32", metadata, "toy")

    def signature(self, spec: ModelSpec) -> str | None:
        return "toy"

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        return ()

    def import_libraries(self) -> bool:
        return False

    def load(self, spec: ModelSpec) -> Model:
        note("load", spec.name, spec.device)
        if "broken" in spec.name:
            raise ModelLoadError(spec.name, "toy", "it is broken", "Take another.")
        return Model(spec.name, str(spec.device))


BACKENDS["torch"] = Backend()
