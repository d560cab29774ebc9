"""Every model once, for everyone who asks, under whatever name."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.toys import DEADLOCK, Gate, Toy, ToyBackend, boarded, start

from pytest_embedcache import ModelRegistry, ModelSpec, default_registry, get_model
from pytest_embedcache.errors import ModelSpecError
from pytest_embedcache.models import defaults
from pytest_embedcache.models import registry as registries
from pytest_embedcache.models.registry import all_registries, swap_default_registry
from pytest_embedcache.vectors import api
from pytest_embedcache.vectors.cache import VectorCache

THREADS = 32
CPU = ModelSpec("x", device="cpu")


@pytest.fixture
def backend() -> ToyBackend:
    return ToyBackend()


@pytest.fixture
def registry(backend: ToyBackend) -> ModelRegistry:
    return ModelRegistry(backends={"torch": backend})


def counts(registry: ModelRegistry) -> dict[str, tuple[int, int, int, int]]:
    """Name -> gets, loads, failures, evictions."""
    return {
        model.name.removeprefix("sentence-transformers/"): (
            model.gets,
            model.loads,
            model.failures,
            model.evictions,
        )
        for model in registry.stats().models
    }


# ------------------------------------------------------------------------------ hits


def test_a_hit_is_the_same_object_and_prepares_nothing(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """From the second time on, a spec is looked up and that is all."""
    model = registry.get(CPU)
    assert all(registry.get(CPU) is model for _ in range(10))
    assert backend.prepared == ["x"]
    assert counts(registry) == {"x": (11, 1, 0, 0)}


def test_a_hit_takes_no_lock(registry: ModelRegistry) -> None:
    """Another thread holds the registry's lock all the while."""
    model = registry.get(CPU)
    by_name = registry.get("x")
    with registry._lock:
        assert start(lambda: registry.get(CPU)).result(DEADLOCK) is model
        assert start(lambda: registry.get("x")).result(DEADLOCK) is by_name


def test_threads_that_ask_at_once_have_one_load(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """32 threads that all saw an empty registry: one load, one object, 32 gets."""
    barrier = threading.Barrier(THREADS)
    prepare = backend.prepare

    def prepare_together(*args: Any) -> ModelSpec:
        barrier.wait(DEADLOCK)  # after the first look, before the second
        return prepare(*args)

    backend.prepare = prepare_together  # type: ignore[method-assign]
    asked = [start(lambda: registry.get(CPU)) for _ in range(THREADS)]
    assert len({future.result(DEADLOCK) for future in asked}) == 1
    assert backend.loads == ["x"]
    assert counts(registry) == {"x": (THREADS, 1, 0, 0)}


# ------------------------------------------------------------------------------ names


def test_all_names_of_a_model_are_one_model(registry: ModelRegistry, backend: ToyBackend) -> None:
    """Short and full name, a string, a device left open, the resolved spec."""
    model = registry.get("x")
    full = "sentence-transformers/x"
    for spelling in (CPU, full, ModelSpec(full, device="cpu"), registry.resolve(CPU)):
        assert registry.get(spelling) is model
    assert backend.loads == ["x"]
    assert len(registry.stats().models) == 1


def test_what_decides_about_a_model_tells_models_apart(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """Name, device, dtype and revision are of the key."""
    specs = [
        CPU,
        CPU.replace(name="y"),
        CPU.replace(device="cuda"),
        CPU.replace(dtype="float16"),
        CPU.replace(revision="v2"),
        CPU.replace(trust_remote_code=True),
    ]
    assert len({registry.get(spec) for spec in specs}) == len(specs)
    assert len(backend.loads) == len(specs)


def test_a_relative_path_is_what_it_means_now(
    registry: ModelRegistry, backend: ToyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of directory the same words are another model, and back again the first."""
    for place in ("one", "two"):
        (tmp_path / place / "model").mkdir(parents=True)
    found = []
    for place in ("one", "two", "one"):
        monkeypatch.chdir(tmp_path / place)
        found.append((registry.get("model"), registry.get(ModelSpec("./model", device="cpu"))))
    assert found[0] == found[2]
    assert found[0][0] is found[0][1]
    assert found[0][0] is not found[1][0]
    assert backend.loads == [str(tmp_path / place / "model") for place in ("one", "two")]


def test_a_directory_that_appears_during_a_load_is_not_mixed_up(
    registry: ModelRegistry, backend: ToyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory changes while a relative path is loading: the old model is not it."""
    (tmp_path / "one" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "one")
    backend.on_load = lambda spec: os.chdir(tmp_path)  # where there is no such directory
    registry.get("model")
    registry.get("model")
    assert backend.loads == [str(tmp_path / "one" / "model"), "model"]


def test_a_path_in_the_home_directory_follows_home(
    registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~/model` under another HOME (as pytester sets one) is another model."""
    found = []
    for home in ("one", "two"):
        (tmp_path / home / "model").mkdir(parents=True)
        monkeypatch.setenv("HOME", str(tmp_path / home))
        monkeypatch.setenv("USERPROFILE", str(tmp_path / home))
        found.append(registry.get("~/model"))
    assert found[0] is not found[1]


def test_what_is_no_name_is_refused(registry: ModelRegistry) -> None:
    """With an error that says what is one."""
    for wrong in ("", " ", None, 3):
        with pytest.raises(ModelSpecError, match=r"all-MiniLM-L6-v2"):
            registry.get(wrong)  # type: ignore[arg-type]
    assert registry.stats().models == ()


def test_a_path_object_is_a_directory(
    registry: ModelRegistry, backend: ToyBackend, tmp_path: Path
) -> None:
    """Given bare, without a spec around it."""
    (tmp_path / "model").mkdir()
    assert isinstance(registry.get(tmp_path / "model"), Toy)  # type: ignore[arg-type]
    assert backend.loads == [str(tmp_path / "model")]


def test_an_unknown_backend_is_refused_with_the_known_ones(registry: ModelRegistry) -> None:
    """Before anything is prepared."""
    with pytest.raises(ModelSpecError, match=r"backend='tensorflow' .*use one of torch"):
        registry.get(ModelSpec("x", backend="tensorflow"))
    assert registry.stats().models == ()


# ------------------------------------------------------------------------------ failures


def test_a_failed_load_is_counted_not_kept_and_tried_again(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """Each call that fails has tried; the one after it can succeed."""

    def fail(spec: ModelSpec) -> None:
        raise OSError(f"try {len(backend.loads)}")

    backend.on_load = fail
    for attempt in (1, 2):
        with pytest.raises(OSError, match=f"try {attempt}"):
            registry.get(CPU)
    assert counts(registry) == {"x": (0, 0, 2, 0)}
    backend.on_load = lambda spec: None
    assert registry.get(CPU) is registry.get(CPU)
    assert counts(registry) == {"x": (2, 1, 2, 0)}


def test_a_failed_preparation_leaves_nothing_behind(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """No handle, no count, no name for it."""
    prepare = backend.prepare

    def fail(*args: Any) -> ModelSpec:
        backend.prepare = prepare  # type: ignore[method-assign]
        raise OSError("no network")

    backend.prepare = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no network"):
        registry.get(CPU)
    assert registry.stats().models == ()
    assert isinstance(registry.get(CPU), Toy)


# ------------------------------------------------------------------------------ forgetting


def test_an_evicted_model_is_loaded_again_and_its_counts_go_on(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """Under every name; who still holds the old model keeps it."""
    old = registry.get(CPU)
    registry.get("x")
    assert registry.evict(CPU)
    new = registry.get("x")
    assert new is not old
    assert registry.get(CPU) is new
    assert backend.loads == ["x", "x"]
    assert counts(registry) == {"x": (4, 2, 0, 1)}


def test_an_evicted_model_is_freed(registry: ModelRegistry) -> None:
    """Nothing in the registry holds it."""
    model = weakref.ref(registry.get(CPU))
    registry.get("x")
    assert registry.evict("x")
    assert model() is None


@pytest.mark.parametrize(
    ("evicted", "left"),
    [
        ("x", ["y"]),
        ("sentence-transformers/x", ["y"]),
        (ModelSpec("x"), ["y"]),
        (ModelSpec("x", device="cuda"), ["x cpu", "x cpu float16", "x cpu v2", "y"]),
        (ModelSpec("x", dtype="float16"), ["x cpu", "x cuda", "x cpu v2", "y"]),
        (ModelSpec("x", revision="v2"), ["x cpu", "x cuda", "x cpu float16", "y"]),
        (ModelSpec("x", trust_remote_code=True), None),
        (ModelSpec("x", backend="onnx"), None),
        ("z", None),
    ],
    ids=str,
)
def test_a_spec_evicts_what_it_leaves_open(
    registry: ModelRegistry,
    backend: ToyBackend,
    evicted: ModelSpec | str,
    left: list[str] | None,
) -> None:
    """A bare name forgets all models of that name; None is for: nothing is forgotten or asked."""
    loaded = {
        "x cpu": CPU,
        "x cuda": CPU.replace(device="cuda"),
        "x cpu float16": CPU.replace(dtype="float16"),
        "x cpu v2": CPU.replace(revision="v2"),
        "y": CPU.replace(name="y"),
    }
    models = {label: registry.get(spec) for label, spec in loaded.items()}
    prepared = list(backend.prepared)
    assert registry.evict(evicted) is (left is not None)
    kept = [label for label, spec in loaded.items() if registry.get(spec) is models[label]]
    assert kept == (list(loaded) if left is None else left)
    if left is None:
        assert backend.prepared == prepared


def test_a_model_of_any_device_is_evicted_by_its_name(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """`evict(name)` undoes `get_model(name)`, whatever device a bare name would mean here."""
    prepare = backend.prepare

    def prefers_cuda(spec: ModelSpec, artifacts: Any) -> ModelSpec:
        return prepare(spec.replace(device=spec.device or "cuda"), artifacts)

    backend.prepare = prefers_cuda  # type: ignore[method-assign]
    old = registry.get(CPU)
    assert registry.evict("x")
    assert registry.get(CPU) is not old


def test_a_local_model_is_evicted_by_any_path_to_it(
    registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative, by way of a link, or as a Path; also where the directory is gone meanwhile."""
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "link").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    for path in ("model", "./model", str(model), str(tmp_path / "link"), "~/model"):
        monkeypatch.setenv("HOME", str(tmp_path))
        registry.get(str(model))
        assert registry.evict(path), path
    registry.get(str(model))
    model.rmdir()
    assert registry.evict(str(model))


def test_eviction_during_a_load_hands_the_model_to_who_waits_and_keeps_it_not(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """The next call loads anew; the gets of all are counted."""
    gate = Gate()
    backend.on_load = gate
    loader = start(lambda: registry.get(CPU))
    assert gate.reached.wait(DEADLOCK)
    joined = boarded(registry.handle(CPU), 1)
    waiter = start(lambda: registry.get(CPU))
    assert joined.wait(DEADLOCK)
    assert registry.evict("x") is False  # it was not loaded yet
    gate.open.set()
    assert loader.result(DEADLOCK) is waiter.result(DEADLOCK)
    assert registry.get(CPU) is not loader.result()
    assert backend.loads == ["x", "x"]
    assert counts(registry) == {"x": (3, 2, 0, 0)}


def test_clear_forgets_models_and_reset_also_counts(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """After either, everything is loaded again."""
    registry.get("x")
    registry.get("y")
    registry.clear()
    assert counts(registry) == {"x": (1, 1, 0, 1), "y": (1, 1, 0, 1)}
    registry.get("x")
    assert counts(registry)["x"] == (2, 2, 0, 1)
    registry.reset()
    assert registry.stats().models == ()
    registry.get("x")
    assert counts(registry) == {"x": (1, 1, 0, 0)}
    assert backend.loads == ["x", "y", "x", "x"]


def test_forgetting_is_noticed_by_who_keeps_things_beside_the_models(
    registry: ModelRegistry,
) -> None:
    """`evictions` grows with every handle that goes, loaded or not."""
    registry.get("x")
    registry.handle("y")
    seen = [registry.evictions]
    for forget in (lambda: registry.evict("z"), lambda: registry.evict("y"), registry.clear):
        forget()
        seen.append(registry.evictions)
    assert seen == [0, 0, 1, 2]


# ------------------------------------------------------------------------------ stats


def test_stats_are_plain_values_and_sums(registry: ModelRegistry) -> None:
    """`as_dict` holds built-in types only, and the sums are over all models."""
    registry.get("x")
    registry.get("x")
    registry.get(ModelSpec("y", device="cuda:1"))
    stats = registry.stats()
    assert (stats.gets, stats.loads) == (3, 2)
    first, second = stats.as_dict()["models"]
    assert (first["name"], first["device"]) == ("sentence-transformers/x", "cpu")
    assert (second["device"], second["backend"]) == ("cuda:1", "torch")
    assert {type(value) for value in first.values()} == {str, int, float}


def test_a_registry_that_nobody_has_is_gone(backend: ToyBackend) -> None:
    """The process's list of registries (for forks) keeps none of them alive."""
    registry = ModelRegistry(backends={"torch": backend})
    model = weakref.ref(registry.get(CPU))
    assert registry in all_registries()
    count = len(all_registries())
    del registry
    assert model() is None
    assert len(all_registries()) == count - 1


# ------------------------------------------------------------------------------ the default one


@pytest.fixture
def no_default() -> Iterator[None]:
    """No default registry, and none of a pytest run behind it."""
    factories = defaults.set_factories(None, None)
    before = swap_default_registry(None)
    yield
    swap_default_registry(before)
    defaults.set_factories(*factories)


@pytest.mark.usefixtures("no_default")
def test_the_default_registry_is_made_once_and_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 threads that all found none get the same one."""
    barrier, lock = threading.Barrier(THREADS), threading.Lock()

    class TogetherThenOneByOne:
        def __enter__(self) -> None:
            barrier.wait(DEADLOCK)  # after the first look, before the second
            lock.acquire()

        def __exit__(self, *error: object) -> None:
            lock.release()

    with monkeypatch.context() as patch:
        patch.setattr(registries, "_default_lock", TogetherThenOneByOne())
        asked = [start(default_registry) for _ in range(THREADS)]
        found = {future.result(DEADLOCK) for future in asked}
    assert found == {default_registry()}


@pytest.mark.usefixtures("no_default")
def test_a_factory_makes_the_default_registry() -> None:
    """It is asked when the registry is first used, and not again; swapping gives back the old."""
    made: list[ModelRegistry] = []

    def factory() -> ModelRegistry:
        made.append(ModelRegistry())
        return made[-1]

    assert defaults.set_factories(factory, None) == (None, None)
    assert made == []
    assert default_registry() is default_registry() is made[0]
    mine = ModelRegistry()
    assert swap_default_registry(mine) is made[0]
    assert default_registry() is mine
    assert len(made) == 1


# ------------------------------------------------------------------------------ tokens


def test_a_token_is_no_part_of_the_key_and_of_no_text(
    registry: ModelRegistry, backend: ToyBackend
) -> None:
    """One model for all tokens; neither stats nor names nor the handle's repr say it."""
    secret = "hf_verysecret"
    model = registry.get(CPU.replace(token=secret))
    assert registry.get(CPU) is model
    assert registry.get(CPU.replace(token="hf_another")) is model
    assert backend.loads == ["x"]
    shown = f"{registry.stats()} {registry._handles} {vars(registry.handle(CPU))}"
    assert secret not in shown


@pytest.mark.usefixtures("no_default")
def test_get_model_remembers_names_but_neither_tokens_nor_relative_folders(
    registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memo grows by a plain name; a relative cache folder is another one in another place."""
    monkeypatch.setattr(api, "_default", VectorCache(None))
    swap_default_registry(registry)
    remembered = api._spec.cache_info().currsize
    for options in ({"token": "hf_secret"}, {"cache_folder": "hub"}):
        get_model("never-asked-before", **options)  # type: ignore[arg-type]
        assert api._spec.cache_info().currsize == remembered
    get_model("never-asked-before")
    assert api._spec.cache_info().currsize == remembered + 1
    asked = []
    monkeypatch.setattr(
        registry, "identify", lambda spec: (asked.append(spec.cache_folder), 1 / 0)[1]
    )
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        with pytest.raises(ZeroDivisionError):
            get_model("other", cache_folder="hub")
    assert asked == [str(tmp_path / place / "hub") for place in ("one", "two")]
