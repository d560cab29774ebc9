"""The backend `onnx`: models that were prepared once, and need neither torch nor transformers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import (
    MissingExtraError,
    ModelLoadError,
    ModelNotFoundError,
    SnapshotError,
)
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.hub import Fetcher, HubFetcher
from pytest_embedcache.models.identity import Identity, identify_snapshot
from pytest_embedcache.models.onnx.description import Description
from pytest_embedcache.models.onnx.published import origin_of, published, refusal_in
from pytest_embedcache.models.snapshots import prepare_snapshot
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import stat_key

__all__ = ["OnnxBackend"]

_NEEDS = ("onnxruntime", "tokenizers", "numpy")


class OnnxBackend:
    """Loads an `OnnxModel` from a prepared artifact, which is made where it is missing.

    Args:
        fetcher: Brings a model that is not here; tests give it a local one.
        stage: Called with what a preparation is doing; None says nothing.
    """

    def __init__(
        self, fetcher: Fetcher | None = None, *, stage: Callable[[str], object] | None = None
    ) -> None:
        self.fetcher = fetcher or HubFetcher()
        self.stage = stage or _silent

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        """Return the resolved spec, whose path is the artifact's.

        Raises `ExportError` where the model cannot be had in this form.
        """
        try:
            identity = self._identify(spec, artifacts)
        except (ModelNotFoundError, SnapshotError):
            prepare_snapshot(origin_of(spec), artifacts, self.fetcher)
            identity = self._identify(spec, artifacts)
        artifact = published(artifacts, spec.form, identity)
        if artifact is None:
            # Imported here: a process that finds it prepared has no use for it.
            from pytest_embedcache.models.onnx.preparation import Preparation

            preparation = Preparation(spec, artifacts, self.fetcher, self.stage)
            artifact = preparation.artifact(identity)
        return ModelSpec(
            name=identity.name,
            revision=identity.commit,
            backend=spec.backend,
            form=spec.form,
            device=spec.device,
            dtype=spec.dtype,
            trust_remote_code=spec.trust_remote_code,
            token=spec.token,
            path=artifact.root,
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        if spec.path is None:
            return self._identify(spec, artifacts)
        try:
            found = Description.read(spec.path)
        except ValueError as error:
            raise ModelNotFoundError(
                spec.name,
                f"its prepared form is gone ({error})",
                "Prepare it again: embedcache models prepare NAME.",
                (spec.path,),
            ) from error
        signature = self.signature(spec)
        # By its own name: another model of the same content may have been the first.
        return Identity(
            spec.name, found.fingerprint, "float32", found.facts(), signature, spec.revision
        )

    def _identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        """By the files that the artifact is, or would be, made of: it need not be there."""
        identity = identify_snapshot(spec, artifacts)
        artifact = published(artifacts, spec.form, identity)
        return Identity(
            identity.name,
            identity.fingerprint,
            "float32",
            identity.metadata,
            # Without one nothing is loaded, and nothing is prepared, before a vector is missing.
            None if artifact is None else _signature(artifact.root),
            identity.commit,
        )

    def signature(self, spec: ModelSpec) -> str | None:
        assert spec.path is not None
        return _signature(spec.path)

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        # What the same model says in torch: what was changed alike has one key.
        return (
            ("max_seq_length", str(model.max_seq_length)),
            ("dtype", "torch.float32"),
            ("adapters", "[]"),
            ("prompts", str(sorted(model.prompts.items()))),
            ("default_prompt_name", str(model.default_prompt_name)),
            ("truncate_dim", str(model.truncate_dim)),
        )

    def import_libraries(self) -> bool:
        fresh = sys.modules.get("onnxruntime") is None
        for package in _NEEDS:
            try:
                __import__(package)
            except ModuleNotFoundError as error:
                if error.name != package:
                    raise
                raise MissingExtraError("the backend 'onnx'", package, "onnx") from error
        return fresh

    def load(self, spec: ModelSpec) -> Any:
        from pytest_embedcache.models.onnx.model import OnnxModel

        assert spec.path is not None
        try:
            return OnnxModel(spec.path)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
            remedy = "Remove it (embedcache models remove NAME), and it is prepared anew."
            raise ModelLoadError(spec.name, "onnx", reason, remedy) from error

    def refusal(self, spec: ModelSpec, artifacts: ArtifactStore) -> str | None:
        """Why this model cannot be prepared, where that is known already; asks for nothing new."""
        try:
            identity = self._identify(spec, artifacts)
        except (ModelNotFoundError, SnapshotError):
            return None
        return refusal_in(artifacts, spec.form, identity)


def _signature(folder: str) -> str | None:
    """Changes when a file of the artifact is written to; None where it is gone."""
    try:
        stats = (f"{name}\0{stat_key(f'{folder}/{name}')}" for name in sorted(os.listdir(folder)))
        return digest(folder, *stats)
    except OSError:
        return None


def _silent(what: str) -> None:
    pass
