"""Models with real files and without torch: everything about which model it is, is the real thing,
and only the vectors are a pure function of the weights' bytes and the text.

`install` puts them in the place of sentence-transformers', for the conftest of a suite under test
and for child processes. `LIGHT_LOG` names a file to which every load, and every text that is
computed, adds a line.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pytest_embedcache.models.backends import BACKENDS
from pytest_embedcache.models.backends.torch import TorchBackend
from pytest_embedcache.models.metadata import read_metadata
from pytest_embedcache.models.roles import prompts_as_loaded
from pytest_embedcache.spec import ModelSpec
from support.encoders import pure_vector

__all__ = ["LIGHT_CHILD", "SIZE", "LightBackend", "LightModel", "install", "note", "vector_of"]

SIZE = 16
#: `child.COMMAND` of a gate or profile: a real process, whose models are these.
LIGHT_CHILD = (
    sys.executable,
    "-c",
    "from support.light import install; install(); "
    "from pytest_embedcache.testing.speedup.child import main; main()",
)


def note(*words: object) -> None:
    """Add a line to the log, in one write: several processes do."""
    if path := os.environ.get("LIGHT_LOG"):
        with open(path, "a", encoding="utf-8") as log:
            log.write(" ".join(map(str, words)) + "\n")


def vector_of(directory: str | os.PathLike[str], text: str, prompt: str = "") -> np.ndarray:
    """The one right vector of `text` by the model in `directory`."""
    weights = hashlib.sha256(Path(directory, "model.safetensors").read_bytes()).hexdigest()
    return pure_vector(weights, prompt + text, size=SIZE)


class LightModel:
    """As much of a SentenceTransformer as a `CachedModel` uses."""

    similarity_fn_name = "cosine"
    default_prompt_name = None
    truncate_dim = None

    def __init__(self, directory: str, prompts: dict[str, str]) -> None:
        # As at the load: what is written there later is another model.
        weights = Path(directory, "model.safetensors").read_bytes()
        self.weights = hashlib.sha256(weights).hexdigest()
        self.prompts = prompts_as_loaded(prompts)
        self.max_seq_length = 32

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """There, as from version 5 on; a `CachedModel` does not call it."""
        raise AssertionError("a role is an argument of encode")

    def encode(self, inputs: Any, **options: Any) -> Any:
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        prompt = options.get("prompt")
        if prompt is None and options.get("prompt_name"):
            prompt = self.prompts[options["prompt_name"]]
        for text in texts:
            note("text", text)
        rows = np.stack([pure_vector(self.weights, (prompt or "") + t, size=SIZE) for t in texts])
        return rows[0] if isinstance(inputs, str) else rows

    def __getitem__(self, index: int) -> LightModel:
        return self


class LightBackend(TorchBackend):
    """Where a model is, whether it is whole, and which one it is: as in its base."""

    def import_libraries(self) -> bool:
        return False

    def load(self, spec: ModelSpec) -> LightModel:
        note("load", spec.name)
        assert spec.path is not None
        return LightModel(spec.path, dict(read_metadata(spec.path).prompts))

    def state(self, model: LightModel) -> tuple[tuple[str, str], ...]:
        return (
            ("max_seq_length", str(model.max_seq_length)),
            ("prompts", str(sorted((k, v) for k, v in model.prompts.items() if v))),
        )


def install() -> None:
    """For all registries of this process."""
    BACKENDS["torch"] = LightBackend()
