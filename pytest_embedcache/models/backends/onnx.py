"""The backend `onnx`: models that were prepared once, and need neither torch nor transformers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import (
    ExportError,
    MissingExtraError,
    ModelLoadError,
    ModelNotFoundError,
    SnapshotError,
)
from pytest_embedcache.fingerprint import SHIPPED
from pytest_embedcache.installed import is_installed
from pytest_embedcache.models.artifacts import Artifact, ArtifactStore
from pytest_embedcache.models.hub import Fetcher, HubFetcher
from pytest_embedcache.models.identity import Identity, identify_snapshot
from pytest_embedcache.models.onnx.published import (
    can_export,
    origin_of,
    published,
    refusal_in,
    ships_graph,
)
from pytest_embedcache.models.snapshots import prepare_snapshot
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import stat_key

if TYPE_CHECKING:
    from pytest_embedcache.models.onnx.preparation import Preparation

__all__ = ["OnnxBackend"]


class _Found(NamedTuple):
    """What a spec means here: form, identity, and the artifact if it is there."""

    form: str
    identity: Identity
    artifact: Artifact | None


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
        self.shipped_fetcher = fetcher or HubFetcher(also=(SHIPPED,))
        self.stage = stage or _silent

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        """Return the resolved spec, whose path is the artifact's.

        Raises `ExportError` where the model cannot be had in this form.
        """
        try:
            found = self._look(spec, artifacts)
        except (ModelNotFoundError, SnapshotError):
            prepare_snapshot(origin_of(spec), artifacts, self.fetcher)
            found = self._look_again(spec, artifacts)
        if found.artifact is None and found.form == "float32" and not can_export():
            found = self._look_again(spec, artifacts)
        artifact = found.artifact
        if artifact is None:
            artifact = self._preparation(spec, found.form, artifacts).artifact(found.identity)
        return ModelSpec(
            name=found.identity.name,
            revision=found.identity.commit,
            backend=spec.backend,
            form=found.form,
            device=spec.device,
            dtype=spec.dtype,
            trust_remote_code=spec.trust_remote_code,
            token=spec.token,
            path=artifact.root,
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        if spec.path is None:
            return self._look(spec, artifacts).identity
        # Imported here: everybody imports this table of backends, and few have a prepared model.
        from pytest_embedcache.models.onnx.description import Description

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

    def _look(self, spec: ModelSpec, artifacts: ArtifactStore) -> _Found:
        """By the files that the artifact is, or would be, made of: it need not be there."""
        identity = identify_snapshot(spec, artifacts)
        artifact = published(artifacts, spec.form, identity)
        if artifact is None and spec.form == "float32" and not can_export() and ships_graph(spec):
            # All that can be had here; a model of its own.
            return self._look(spec.replace(form="shipped"), artifacts)
        # Without an artifact nothing is loaded, nor prepared, before a vector is missing.
        signature = None if artifact is None else _signature(artifact.root)
        return _Found(spec.form, replace(identity, dtype="float32", signature=signature), artifact)

    def _look_again(self, spec: ModelSpec, artifacts: ArtifactStore) -> _Found:
        """After fetching the shipped file, where it may be needed and is not here."""
        wanted = spec.form == "shipped" or (spec.form == "float32" and not can_export())
        if wanted and not ships_graph(spec):
            self._preparation(spec, "shipped", artifacts).fetch_shipped()
        if spec.form == "shipped" and not ships_graph(spec):
            reason = f"its repository has no file {SHIPPED}"
            raise ExportError(spec.name, spec.form, reason, "Use another form.")
        return self._look(spec, artifacts)

    def _preparation(self, spec: ModelSpec, form: str, artifacts: ArtifactStore) -> Preparation:
        # Imported here: a process that finds all prepared has no use for it.
        from pytest_embedcache.models.onnx.preparation import Preparation

        fetcher = self.shipped_fetcher if form == "shipped" else self.fetcher
        return Preparation(spec.replace(form=form), artifacts, fetcher, self.stage)

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

    def missing(self) -> MissingExtraError | None:
        """The first of the packages that a load needs and that is not installed."""
        for package in _NEEDS:
            if not is_installed(package):
                return MissingExtraError("the backend 'onnx'", package, "onnx")
        return None

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
            found = self._look(spec, artifacts)
        except (ModelNotFoundError, SnapshotError):
            return None
        return refusal_in(artifacts, found.form, found.identity)


def _signature(folder: str) -> str | None:
    """Changes when a file of the artifact is written to; None where it is gone."""
    try:
        stats = (f"{name}\0{stat_key(f'{folder}/{name}')}" for name in sorted(os.listdir(folder)))
        return digest(folder, *stats)
    except OSError:
        return None


def _silent(what: str) -> None:
    pass
