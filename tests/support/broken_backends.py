"""For each check of `BackendContract` a backend on which it fails, and no other check."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import ModelLoadError, ModelNotFoundError
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.testing.fake_backend import FakeBackend
from pytest_embedcache.testing.fakes import FakeEmbeddingModels

MISSING = ModelSpec("not-there", device="cpu")
UNLOADABLE = ModelSpec("damaged", device="cpu")

BROKEN: dict[str, Callable[[], Sound]] = {}


class Sound(FakeBackend):
    """Keeps every promise: all names but two are models."""

    def __init__(self) -> None:
        fakes = FakeEmbeddingModels(kind="hash")
        super().__init__(fakes, fakes)
        self.numbers = itertools.count()
        self.imported = False

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        if spec.name == MISSING.name:
            raise ModelNotFoundError(spec.name, "is nowhere", "Take another.")
        return super().prepare(spec, artifacts)

    def load(self, spec: ModelSpec) -> Any:
        if spec.name == UNLOADABLE.name:
            try:
                raise OSError("half a file")
            except OSError as error:
                raise ModelLoadError(spec.name, "sound", "half a file", "Fetch it.") from error
        return super().load(spec)

    def import_libraries(self) -> bool:
        fresh, self.imported = not self.imported, True
        return fresh


def on(check: str) -> Callable[[type[Sound]], type[Sound]]:
    def add(cls: type[Sound]) -> type[Sound]:
        BROKEN[check] = cls
        return cls

    return add


@on("test_a_prepared_spec_is_resolved")
class ChoosesItsOwnDevice(Sound):
    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        return super().prepare(spec, artifacts).replace(device="cuda")


@on("test_preparing_again_changes_nothing")
class PreparesANewOneEachTime(Sound):
    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        return super().prepare(spec, artifacts).replace(path=f"made {next(self.numbers)}")


@on("test_two_models_have_two_specs")
class ForgetsTheName(Sound):
    first = ""

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        prepared = super().prepare(spec, artifacts)
        if spec.name == UNLOADABLE.name:
            return prepared
        self.first = self.first or prepared.name
        return prepared.replace(name=self.first, path="one for all")


@on("test_a_missing_model_is_said_by_name")
class SaysNoName(Sound):
    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        if spec.name == MISSING.name:
            raise ModelNotFoundError("?", "is nowhere", "Take another.")
        return super().prepare(spec, artifacts)


class Renaming(Sound):
    """Of a changed identity."""

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        return self.changed(super().identify(spec, artifacts))

    def changed(self, identity: Identity) -> Identity:
        raise NotImplementedError


@on("test_a_fingerprint_is_64_hexadecimal_digits")
class Shouts(Renaming):
    def changed(self, identity: Identity) -> Identity:
        return replace(identity, fingerprint=identity.fingerprint.upper())


@on("test_a_fingerprint_stays")
class ChangesItsMind(Renaming):
    def changed(self, identity: Identity) -> Identity:
        number = next(self.numbers)
        return replace(identity, fingerprint=f"{number:02x}{identity.fingerprint[2:]}")


@on("test_two_models_have_two_fingerprints")
class TakesOneForTheOther(Renaming):
    def changed(self, identity: Identity) -> Identity:
        return replace(identity, fingerprint="0" * 64)


@on("test_the_signature_is_that_of_the_identity")
class SignsOtherwise(Renaming):
    def changed(self, identity: Identity) -> Identity:
        return replace(identity, signature="another")


@on("test_loading_changes_no_signature")
class WritesWhileItLoads(Sound):
    loads = 0

    def load(self, spec: ModelSpec) -> Any:
        self.loads += 1
        return super().load(spec)

    def signature(self, spec: ModelSpec) -> str:
        return f"after {self.loads} loads"

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        return replace(super().identify(spec, artifacts), signature=self.signature(spec))


@on("test_the_model_gives_one_float32_row_for_each_text")
class ComputesInFloat64(Sound):
    def load(self, spec: ModelSpec) -> Any:
        model = super().load(spec)
        encode = model.encode
        model.encode = lambda texts: np.asarray(encode(texts), np.float64)
        return model


@on("test_the_dimension_is_what_the_identity_says")
class SaysAnotherDimension(Renaming):
    def changed(self, identity: Identity) -> Identity:
        return replace(identity, metadata=replace(identity.metadata, dimension=5))


@on("test_the_prompts_are_what_the_identity_says")
class SaysAPromptThatIsNone(Renaming):
    def changed(self, identity: Identity) -> Identity:
        return replace(identity, metadata=replace(identity.metadata, prompts={"query": "q: "}))


@on("test_two_loads_agree")
class LoadsAnotherEachTime(Sound):
    def load(self, spec: ModelSpec) -> Any:
        model = super().load(spec)
        model.name = f"{model.name} {next(self.numbers)}"
        return model


@on("test_a_state_is_read_without_changing_it")
class CountsItsReaders(Sound):
    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        return (*super().state(model), ("read", str(next(self.numbers))))


@on("test_what_is_changed_on_a_model_is_in_its_state")
class SeesNoChange(Sound):
    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        return ()


@on("test_what_cannot_be_built_is_one_kind_of_error")
class LetsTheErrorThrough(Sound):
    def load(self, spec: ModelSpec) -> Any:
        if spec.name == UNLOADABLE.name:
            raise OSError("half a file")
        return super().load(spec)


@on("test_libraries_are_imported_once")
class AlwaysImports(Sound):
    def import_libraries(self) -> bool:
        return True


@on("test_it_serves_a_registry")
class KnowsOneStore(Sound):
    """Loads only what was prepared in the first store of artifacts that it saw."""

    store: ArtifactStore | None = None

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        self.store = self.store or artifacts
        path = "here" if artifacts is self.store else "elsewhere"
        prepared = super().prepare(spec, artifacts)
        return prepared.replace(path=f"{path} {prepared.name}")

    def load(self, spec: ModelSpec) -> Any:
        if str(spec.path).startswith("elsewhere"):
            raise KeyError(spec.path)
        return super().load(spec)
