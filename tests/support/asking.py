"""Asking a Hub on this machine for a model, each time in a process of its own.

huggingface_hub reads its environment on import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from support.hub import MockHub

#: What is fetched of the model, and nothing else.
WANTED = [
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    "vocab.txt",
]

NAME = "org/tiny"
COMMIT = "a" * 40

ASK = """
import json, os, sys
from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import EmbedCacheError
from pytest_embedcache.models import hub
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends.torch import TorchBackend

hub.ANSWER_TIMEOUT = float(os.environ.get("ANSWER_TIMEOUT", "60"))
options = json.loads(sys.argv[1])
artifacts = ArtifactStore()
try:
    spec = TorchBackend().prepare(ModelSpec(**options, device="cpu"), artifacts)
    found = {"path": spec.path, "name": spec.name, "commit": spec.revision}
except EmbedCacheError as error:
    found = {"error": type(error).__name__, "message": str(error)}
    found["status"] = getattr(error, "status", None)
print(json.dumps(found | {"built": artifacts.built}))
"""


class Asked:
    """One process that asks for a model."""

    def __init__(self, name: str = NAME, *, environment: dict[str, str], **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ASK, json.dumps({"name": name, **options})],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def answer(self) -> dict[str, Any]:
        out, err = self._process.communicate(timeout=600)
        assert self._process.returncode == 0, err
        return dict(json.loads(out), log=err)


def ask(name: str = NAME, environment: dict[str, str] | None = None, **options: Any) -> Any:
    return Asked(name, environment=environment or {}, **options).answer()


def about_models(hub: MockHub) -> list[str]:
    """The requests but for what huggingface_hub asks about itself."""
    return [request for request in hub.requests if NAME in request]


def fetched(hub: MockHub) -> list[str]:
    return sorted(path.partition("/resolve/")[2].partition("/")[2] for path in hub.downloads())
