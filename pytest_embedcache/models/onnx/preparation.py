"""Preparing a model once on a machine: which artifact a spec means, and how it comes to be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_embedcache.errors import ExportError, FetchError, MissingExtraError, ModelNotFoundError
from pytest_embedcache.files import write_json
from pytest_embedcache.fingerprint import SHIPPED
from pytest_embedcache.installed import is_installed
from pytest_embedcache.models.artifacts import Artifact, ArtifactStore, Built
from pytest_embedcache.models.backends.torch import TorchBackend
from pytest_embedcache.models.hub import Fetcher
from pytest_embedcache.models.identity import Identity, files_signature, identify_snapshot
from pytest_embedcache.models.onnx.child import ChildError, RefusedError, run_in_child
from pytest_embedcache.models.onnx.published import (
    REFUSED,
    kind_and_key,
    makers,
    origin_of,
    still_holds,
)
from pytest_embedcache.snapshot import hub_cache, hub_cache_around, locate
from pytest_embedcache.spec import ModelSpec

__all__ = ["Preparation"]

_EXPORT_NEEDS = (
    ("sentence_transformers", "sentence-transformers"),
    *((package, "onnx") for package in ("onnx", "onnxscript", "onnxruntime", "tokenizers")),
)
_REMEDY = "Load it with backend='torch'."


@dataclass(frozen=True)
class Preparation:
    """Prepares the model of one spec.

    Attributes:
        spec: Not resolved.
        artifacts: Where it is kept.
        fetcher: Brings files that are not here.
        stage: Called with what is being done now.
    """

    spec: ModelSpec
    artifacts: ArtifactStore
    fetcher: Fetcher
    stage: Callable[[str], object]

    def artifact(self, identity: Identity) -> Artifact:
        """The artifact that the spec means, made where it is missing. Raises as `float32` does."""
        builders = {"float32": self.float32, "shipped": self.shipped}
        return builders.get(self.spec.form, self.small)(identity)

    def float32(self, identity: Identity) -> Artifact:
        """The export of the model, which was verified against its origin.

        Raises:
            ExportError: It was refused, or failed.
            MissingExtraError: It has not been prepared, and packages for that are missing.
            ModelNotFoundError, FetchError, SnapshotError, LockTimeoutError: No files to start from.
        """
        return self._ensure("float32", identity, self._export(identity))

    def small(self, identity: Identity) -> Artifact:
        """A small form of the same export, its agreement measured. Raises as `float32` does."""

        def build(folder: Path) -> Built:
            origin = replace(self, spec=replace(self.spec, form="float32"))
            exact = origin.float32(identify_snapshot(origin.spec, self.artifacts))
            found = self._in_child(
                "small:make_small",
                source=exact.root,
                folder=str(folder),
                form=self.spec.form,
                fingerprint=identity.fingerprint,
            )
            return Built(found["files"], details=found["details"])

        return self._ensure(self.spec.form, identity, build)

    def shipped(self, identity: Identity) -> Artifact:
        """The ONNX file of the model's own repository, completed. Raises as `float32` does."""

        def build(folder: Path) -> Built:
            if not is_installed("onnx"):
                raise MissingExtraError(f"preparing {self.spec.name!r}", "onnx", "onnx")
            place = locate(origin_of(self.spec))
            found = self._in_child(
                "shipped:prepare_shipped",
                source=place.path,
                graph=SHIPPED,
                folder=str(folder),
                name=identity.name,
                commit=identity.commit,
                fingerprint=identity.fingerprint,
            )
            return Built(found["files"], details=found["details"])

        return self._ensure("shipped", identity, build)

    def fetch_shipped(self) -> None:
        """Bring that file here, should the model's repository on the Hub have one."""
        place = locate(origin_of(self.spec))
        if place.repository is None or place.commit is None or place.path is None:
            return
        cache = hub_cache_around(place.path) or hub_cache(self.spec.cache_folder)
        what = f"the files of {place.repository}"
        # Offline, or away: what is here decides.
        away = contextlib.suppress(FetchError, ModelNotFoundError, MissingExtraError)
        with self.artifacts.alone(f"shipped-{place.commit}", what), away:
            self.fetcher.fetch(
                place.repository, place.commit, cache, token=self.spec.token, force=False
            )

    def _export(self, identity: Identity) -> Callable[[Path], Built]:
        def build(folder: Path) -> Built:
            origin = self._resolved_origin()
            before = _signature(origin)
            found = self._in_child(
                "export:export",
                spec=_plain(origin),
                folder=str(folder),
                name=identity.name,
                commit=identity.commit,
                fingerprint=identity.fingerprint,
            )
            if _signature(origin) != before:
                raise self._error("its files changed meanwhile", "Run again.")
            return Built(found["files"], details=found["details"])

        return build

    def _resolved_origin(self) -> ModelSpec:
        for package, extra in _EXPORT_NEEDS:
            if not is_installed(package):
                raise MissingExtraError(f"preparing {self.spec.name!r}", package, extra)
        return TorchBackend(self.fetcher).prepare(origin_of(self.spec), self.artifacts)

    def _in_child(self, function: str, **arguments: Any) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = run_in_child(
                f"pytest_embedcache.models.onnx.{function}", self.stage, **arguments
            )
        except ChildError as error:
            raise self._error(f"the export failed ({error})", _REMEDY) from error
        return found

    def _ensure(self, form: str, identity: Identity, build: Callable[[Path], Built]) -> Artifact:
        def or_refusal(folder: Path) -> Built:
            """What is refused is published as well, or every process would find out for itself."""
            facts = {
                "name": identity.name,
                "commit": identity.commit,
                "form": form,
                "fingerprint": identity.fingerprint,
                "made_with": makers(),
            }
            try:
                built = build(folder)
            except RefusedError as error:
                write_json(folder / REFUSED, str(error))
                return Built([REFUSED], details={**facts, "refused": str(error)})
            return built._replace(details={**facts, **built.details})

        kind, key = kind_and_key(form, identity)
        what = f"the ONNX form {form} of {identity.name}"
        found = self.artifacts.ensure(kind, key, or_refusal, what=what, valid=still_holds)
        if REFUSED in found.files:
            raise self._error(str(found.details["refused"]), _REMEDY)
        return found

    def _error(self, reason: str, remedy: str) -> ExportError:
        return ExportError(self.spec.name, self.spec.form, reason, remedy)


def _signature(origin: ModelSpec) -> str:
    assert origin.path is not None
    return files_signature(origin.path, trust_remote_code=origin.trust_remote_code)


def _plain(spec: ModelSpec) -> dict[str, Any]:
    """A spec as JSON, without its token: the files are here."""
    names = ("name", "revision", "device", "dtype", "trust_remote_code", "path")
    return {name: getattr(spec, name) for name in names}
