"""Lets registries load models from the toy `sentence_transformers` of `support.toy_st`."""

from __future__ import annotations

from typing import Any

from pytest_embedcache.models.backends import BACKENDS
from pytest_embedcache.models.backends.torch import TorchBackend
from pytest_embedcache.spec import ModelSpec
from support.light import LightBackend, note


class ToyBackend(LightBackend):
    """As the real one, with as little of a model as the toy has."""

    def import_libraries(self) -> bool:
        return TorchBackend.import_libraries(self)

    def load(self, spec: ModelSpec) -> Any:
        import sentence_transformers

        note("load")
        found = sentence_transformers.SentenceTransformer
        return getattr(found, "__embedcache_real__", found)(spec.path, device=spec.device)


BACKENDS["torch"] = ToyBackend()
