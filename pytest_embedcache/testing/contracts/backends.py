"""The contract of a backend: how a model comes to be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pytest_embedcache.errors import ModelLoadError, ModelNotFoundError
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.registry import ModelRegistry
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.testing.contracts.capabilities import Contract, needs

__all__ = ["BackendContract"]

TEXTS = ["a cat", "quarterly revenue"]


class BackendContract(Contract):
    """What a backend promises. The fixture `backend` gives one.

    Beside it, for one that has the capability:

    - the fixture `missing` (capability `missing_models`): the spec of a model that is nowhere;
    - the fixture `unloadable` (capability `load_errors`): the spec of a model that can be prepared
      and not built.

    Attributes:
        spec, other_spec: Two models that it can load; fixtures of these names may give them.
        tolerance: As in `EmbeddingModelContract`.
    """

    tolerance: ClassVar[float] = 1e-5

    @pytest.fixture
    def backend(self) -> Any:
        raise NotImplementedError("a subclass gives the fixture `backend`")

    @pytest.fixture
    def spec(self) -> ModelSpec:
        """A model that it can load."""
        return ModelSpec("all-MiniLM-L6-v2", device="cpu")

    @pytest.fixture
    def other_spec(self) -> ModelSpec:
        """Another."""
        return ModelSpec("all-mpnet-base-v2", device="cpu")

    @pytest.fixture
    def missing(self) -> ModelSpec:
        raise NotImplementedError("a subclass gives the fixture `missing`, or lacks it")

    @pytest.fixture
    def unloadable(self) -> ModelSpec:
        raise NotImplementedError("a subclass gives the fixture `unloadable`, or lacks it")

    @pytest.fixture
    def artifacts(self, tmp_path: Path) -> ArtifactStore:
        """An empty store of prepared models."""
        return ArtifactStore(tmp_path / "artifacts")

    # ------------------------------------------------------------------------- preparing

    def test_a_prepared_spec_is_resolved(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """Path, device and dtype are known, and the device is the one that was asked for."""
        prepared = backend.prepare(spec, artifacts)
        assert prepared.is_resolved
        assert prepared.device == (spec.device or prepared.device)

    def test_preparing_again_changes_nothing(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """The specs are equal: one model is one key."""
        assert backend.prepare(spec, artifacts) == backend.prepare(spec, artifacts)

    def test_two_models_have_two_specs(
        self, backend: Any, spec: ModelSpec, other_spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """Never one key for both."""
        assert backend.prepare(spec, artifacts) != backend.prepare(other_spec, artifacts)

    @needs("missing_models")
    def test_a_missing_model_is_said_by_name(
        self, backend: Any, missing: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """`ModelNotFoundError`, when it is prepared."""
        with pytest.raises(ModelNotFoundError, match=re.escape(missing.name)):
            backend.prepare(missing, artifacts)

    # ------------------------------------------------------------------------- identity

    def test_a_fingerprint_is_64_hexadecimal_digits(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """In lower case."""
        prepared = backend.prepare(spec, artifacts)
        identity = backend.identify(prepared, artifacts)
        assert re.fullmatch("[0-9a-f]{64}", identity.fingerprint)

    def test_a_fingerprint_stays(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """It is the same whenever it is asked for, of the spec as given and as prepared."""
        prepared = backend.prepare(spec, artifacts)
        found = [backend.identify(one, artifacts).fingerprint for one in (prepared, prepared, spec)]
        assert len(set(found)) == 1

    def test_two_models_have_two_fingerprints(
        self, backend: Any, spec: ModelSpec, other_spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """So that their vectors are never mixed up."""
        for one in (spec, other_spec):
            backend.prepare(one, artifacts)
        found = [backend.identify(one, artifacts).fingerprint for one in (spec, other_spec)]
        assert found[0] != found[1]

    def test_the_signature_is_that_of_the_identity(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """Else no vector of the loaded model would be stored."""
        prepared = backend.prepare(spec, artifacts)
        said = backend.identify(prepared, artifacts).signature
        assert said is not None
        assert backend.signature(prepared) == said

    def test_loading_changes_no_signature(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """A load reads files, and writes none."""
        prepared = backend.prepare(spec, artifacts)
        before = backend.signature(prepared)
        _load(backend, prepared)
        assert backend.signature(prepared) == before

    # ------------------------------------------------------------------------- the model

    def test_the_model_gives_one_float32_row_for_each_text(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """Finite ones."""
        found = _load(backend, backend.prepare(spec, artifacts)).encode(TEXTS)
        assert isinstance(found, np.ndarray)
        assert (len(found), found.ndim, found.dtype) == (2, 2, np.float32)
        assert np.isfinite(found).all()

    def test_the_dimension_is_what_the_identity_says(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """Where it says one: it is known without a load."""
        prepared = backend.prepare(spec, artifacts)
        said = backend.identify(prepared, artifacts).metadata.dimension
        found = np.asarray(_load(backend, prepared).encode(TEXTS)).shape[-1]
        assert said in (None, found)

    def test_the_prompts_are_what_the_identity_says(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """They go into the keys of vectors before the model is loaded."""
        prepared = backend.prepare(spec, artifacts)
        said = dict(backend.identify(prepared, artifacts).metadata.prompts)
        found = dict(_load(backend, prepared).prompts)
        assert {k: v for k, v in found.items() if v} == {k: v for k, v in said.items() if v}

    def test_two_loads_agree(self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore) -> None:
        """Two objects, one model: to the tolerance."""
        prepared = backend.prepare(spec, artifacts)
        one, other = _load(backend, prepared), _load(backend, prepared)
        assert one is not other
        first, second = (np.asarray(model.encode(TEXTS)) for model in (one, other))
        assert np.abs(first - second).max() <= self.tolerance * np.abs(first).max()

    def test_a_state_is_read_without_changing_it(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """Pairs of strings, the same ones every time, also after an `encode`."""
        model = _load(backend, backend.prepare(spec, artifacts))
        before = backend.state(model)
        model.encode(TEXTS)
        assert backend.state(model) == before
        assert all(isinstance(part, str) for pair in before for part in pair)

    @needs("state")
    def test_what_is_changed_on_a_model_is_in_its_state(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """Its vectors are others then, and get other keys."""
        model = _load(backend, backend.prepare(spec, artifacts))
        before = backend.state(model)
        model.max_seq_length = 5
        assert backend.state(model) != before

    @needs("load_errors")
    def test_what_cannot_be_built_is_one_kind_of_error(
        self, backend: Any, unloadable: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """`ModelLoadError`, with the model's name, and the original error as its cause."""
        prepared = backend.prepare(unloadable, artifacts)
        with pytest.raises(ModelLoadError) as caught:
            _load(backend, prepared)
        assert caught.value.name in (unloadable.name, prepared.name)
        assert caught.value.__cause__ is not None

    # ------------------------------------------------------------------------- in a registry

    def test_libraries_are_imported_once(self, backend: Any) -> None:
        """`import_libraries` is True for the first at most."""
        backend.import_libraries()
        assert backend.import_libraries() is False

    def test_it_serves_a_registry(
        self, backend: Any, spec: ModelSpec, artifacts: ArtifactStore
    ) -> None:
        """Which has a store of its own, and loads the model once."""
        kind = backend.prepare(spec, artifacts).backend
        registry = ModelRegistry(
            cache_dir=artifacts.directory.parent, backends={spec.backend: backend, kind: backend}
        )
        model = registry.get(spec)
        assert registry.get(spec) is model
        assert registry.stats().loads == 1


def _load(backend: Any, prepared: ModelSpec) -> Any:
    backend.import_libraries()
    return backend.load(prepared)
