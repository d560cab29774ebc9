"""The contract of a registry: every model once, for everyone who asks."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.testing.contracts.capabilities import Contract, at_once, needs

__all__ = ["ModelRegistryContract"]


class ModelRegistryContract(Contract):
    """What a registry promises. The fixture `registry` gives an empty one.

    Beside it, for one that has the capability:

    - the fixture `load_count` (capability `load_count`): called, it says how many models have been
      built so far, failed attempts included;
    - the fixture `loading` (capability `loading`): an object whose `fail(error)` lets the next
      load raise.

    Attributes:
        spec, other_spec: Two models that it can load.
    """

    spec: ClassVar[ModelSpec] = ModelSpec("all-MiniLM-L6-v2", device="cpu")
    other_spec: ClassVar[ModelSpec] = ModelSpec("all-mpnet-base-v2", device="cpu")

    @pytest.fixture
    def registry(self) -> Any:
        raise NotImplementedError("a subclass gives the fixture `registry`")

    @pytest.fixture
    def load_count(self) -> Callable[[], int]:
        raise NotImplementedError("a subclass gives the fixture `load_count`, or lacks it")

    @pytest.fixture
    def loading(self) -> Any:
        raise NotImplementedError("a subclass gives the fixture `loading`, or lacks it")

    # ------------------------------------------------------------------------- one of each

    def test_a_spec_is_one_object(self, registry: Any) -> None:
        """However often it is asked for."""
        model = registry.get(self.spec)
        assert model is not None
        assert registry.get(self.spec) is model

    def test_equal_specs_are_one_object(self, registry: Any) -> None:
        """Not the spec object counts, but what it says."""
        model = registry.get(self.spec)
        assert registry.get(self.spec.replace()) is model

    def test_a_resolved_spec_is_the_same_model(self, registry: Any) -> None:
        """What `resolve` returns is resolved, and leads to the same object."""
        resolved = registry.resolve(self.spec)
        assert resolved.is_resolved
        assert registry.get(resolved) is registry.get(self.spec)

    def test_two_models_are_two_objects(self, registry: Any) -> None:
        """One never stands for the other."""
        assert registry.get(self.spec) is not registry.get(self.other_spec)

    @needs("load_count")
    def test_a_model_is_loaded_once(self, registry: Any, load_count: Callable[[], int]) -> None:
        """Ten questions are one load."""
        for _ in range(10):
            registry.get(self.spec)
        assert load_count() == 1

    @needs("load_count")
    def test_nothing_is_loaded_before_it_is_asked_for(
        self, registry: Any, load_count: Callable[[], int]
    ) -> None:
        """Neither by making a registry, nor by resolving, nor along with another model."""
        registry.resolve(self.spec)
        assert load_count() == 0

    @needs("load_count")
    def test_threads_cause_one_load(self, registry: Any, load_count: Callable[[], int]) -> None:
        """Eight at once get one object."""
        found = at_once(*[lambda: registry.get(self.spec)] * 8)
        assert len({id(model) for model in found}) == 1
        assert load_count() == 1

    # ------------------------------------------------------------------------- failures

    @needs("loading")
    def test_an_error_of_a_load_is_the_callers(self, registry: Any, loading: Any) -> None:
        """The very error, or one that has it as its cause."""
        loading.fail(OSError("the weights are gone"))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - looked at below
            registry.get(self.spec)
        chain = (caught.value, caught.value.__cause__)
        assert any("the weights are gone" in str(error) for error in chain)

    @needs("loading")
    def test_a_failed_load_is_not_kept(self, registry: Any, loading: Any) -> None:
        """The next one who asks has the model."""
        loading.fail(OSError("for a moment"))
        with pytest.raises(Exception):  # noqa: B017, PT011 - which, is another check's matter
            registry.get(self.spec)
        assert registry.get(self.spec) is not None

    def test_an_unknown_backend_is_refused_by_name(self, registry: Any) -> None:
        """With an error that says which one it was."""
        with pytest.raises(ValueError, match="no-such-backend"):
            registry.get(self.spec.replace(backend="no-such-backend"))

    # ------------------------------------------------------------------------- forgetting

    def test_an_evicted_model_is_loaded_anew(self, registry: Any) -> None:
        """`evict` says that there was one; the next who asks gets another object."""
        model = registry.get(self.spec)
        assert registry.evict(self.spec) is True
        assert registry.get(self.spec) is not model

    def test_evicting_what_is_not_there_is_no_error(self, registry: Any) -> None:
        """It is False."""
        assert registry.evict(self.spec) is False

    def test_evicting_one_leaves_the_others(self, registry: Any) -> None:
        """They are the objects that they were."""
        other = registry.get(self.other_spec)
        registry.get(self.spec)
        registry.evict(self.spec)
        assert registry.get(self.other_spec) is other

    def test_clearing_forgets_all(self, registry: Any) -> None:
        """Every model is loaded anew."""
        models = [registry.get(spec) for spec in (self.spec, self.other_spec)]
        registry.clear()
        for spec, model in zip((self.spec, self.other_spec), models, strict=True):
            assert registry.get(spec) is not model

    def test_nobody_keeps_a_forgotten_model(self, registry: Any) -> None:
        """Its memory is free as soon as its users let it go."""
        gone = weakref.ref(registry.get(self.spec))
        registry.clear()
        if gone() is not None:  # a model of torch is in cycles
            gc.collect()
        assert gone() is None

    # ------------------------------------------------------------------------- counting

    def test_stats_count_gets_and_loads(self, registry: Any) -> None:
        """By model: calls that returned it, and loads of it."""
        for _ in range(3):
            registry.get(self.spec)
        registry.get(self.other_spec)
        found = registry.stats().as_dict()["models"]
        assert sorted((row["gets"], row["loads"]) for row in found) == [(1, 1), (3, 1)]

    def test_stats_are_plain_values(self, registry: Any) -> None:
        """`as_dict` is JSON: reports and other processes get it."""
        registry.get(self.spec)
        stats = registry.stats().as_dict()
        assert json.loads(json.dumps(stats)).keys() == stats.keys()
