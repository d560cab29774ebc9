"""Which artifact holds a prepared model, and whether it is there."""

from __future__ import annotations

import os
from dataclasses import replace

from pytest_embedcache.encoding import canonical_json, digest
from pytest_embedcache.fingerprint import SHIPPED
from pytest_embedcache.installed import installed_version, is_installed
from pytest_embedcache.models.artifacts import Artifact, ArtifactStore
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.snapshot import locate
from pytest_embedcache.spec import ModelSpec

__all__ = [
    "REFUSED",
    "can_export",
    "form_kinds",
    "kind_and_key",
    "makers",
    "origin_of",
    "published",
    "refusal_in",
    "ships_graph",
    "still_holds",
]

#: Form -> kind of artifact, and the version of how it is made, which is a part of its key.
_KINDS = {
    "float32": ("onnx", 2),
    "int8": ("onnx-int8", 1),
    "int8-dynamic": ("onnx-dynamic", 1),
    "shipped": ("onnx-shipped", 2),
}
#: The one file of an artifact that says why there is none.
REFUSED = "refused.json"
#: With others of these, what was refused is tried again.
_MAKERS = ("torch", "transformers", "sentence-transformers", "onnx", "onnxscript", "onnxruntime")


def kind_and_key(form: str, identity: Identity) -> tuple[str, str]:
    """Those of the artifact that holds the model of `identity` in this form."""
    kind, version = _KINDS[form]
    facts = identity.metadata
    # An artifact has prompts, and two models of one fingerprint may have different ones.
    said = [dict(facts.prompts), facts.default_prompt_name, facts.similarity]
    return kind, f"{digest(identity.fingerprint, canonical_json(said))[:40]}-{version}"


def form_kinds() -> list[str]:
    """The kinds of artifact that hold prepared models."""
    return [kind for kind, _ in _KINDS.values()]


def published(artifacts: ArtifactStore, form: str, identity: Identity) -> Artifact | None:
    """The artifact, if it has been prepared and was not refused."""
    found = artifacts.get(*kind_and_key(form, identity))
    return None if found is None or REFUSED in found.files else found


def refusal_in(artifacts: ArtifactStore, form: str, identity: Identity) -> str | None:
    """Why the model cannot be prepared, if that was found out before and still holds."""
    found = artifacts.get(*kind_and_key(form, identity))
    if found is None or REFUSED not in found.files or not still_holds(found):
        return None
    return str(found.details["refused"])


def origin_of(spec: ModelSpec) -> ModelSpec:
    """The model in torch that a prepared one is made of, and held against."""
    return replace(spec, backend="torch", form="float32", path=None)


def can_export() -> bool:
    """Whether the packages are here that load a model's origin."""
    return is_installed("torch") and is_installed("sentence_transformers")


def ships_graph(spec: ModelSpec) -> bool:
    """Whether the ONNX file of the model's own repository is on this machine."""
    place = locate(origin_of(spec))
    return place.path is not None and os.path.isfile(os.path.join(place.path, SHIPPED))


def makers() -> dict[str, str | None]:
    """The versions of what makes an export."""
    return {package: installed_version(package) for package in _MAKERS}


def still_holds(artifact: Artifact) -> bool:
    """Whether it is an export, or was refused by what is installed now."""
    return REFUSED not in artifact.files or artifact.details["made_with"] == makers()
