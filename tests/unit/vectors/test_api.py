"""`get_model`: one object for everyone, whatever it is called; and the store behind it."""

from __future__ import annotations

import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.encoders import Files, PureBackend, right
from support.letting_go import is_let_go
from support.models import add_to_hub_cache
from support.own_defaults import own_defaults

from pytest_embedcache import ModelRegistry, ModelSpec, get_model
from pytest_embedcache.errors import ModelNotFoundError, ModelSpecError
from pytest_embedcache.models.registry import default_registry, swap_default_registry
from pytest_embedcache.vectors import api
from pytest_embedcache.vectors.api import (
    cached_model,
    default_cache,
    swap_default_cache,
)
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel


@pytest.fixture(autouse=True)
def _own_defaults() -> Iterator[None]:
    with own_defaults():
        yield


@pytest.fixture
def pure() -> PureBackend:
    """The default registry's backend `pure`, with the model `m`."""
    backend = PureBackend(m=Files())
    swap_default_registry(ModelRegistry(backends={"pure": backend}))
    return backend


# ------------------------------------------------------------------------------ one object


def test_a_model_is_one_object_however_it_is_spelled(tiny: Path, hub_cache: Path) -> None:
    """Full and short name, branch and commit, path, `Path`, link, and the device with an index."""
    commit = "1" * 40
    snapshot = add_to_hub_cache(hub_cache, "sentence-transformers/tiny-model", tiny, commit=commit)
    link = tiny.parent / "link"
    link.symlink_to(snapshot)
    model = get_model("tiny-model")
    spellings: list[dict[str, Any]] = [
        {"name": "sentence-transformers/tiny-model"},
        {"name": "tiny-model", "revision": "main"},
        {"name": "tiny-model", "revision": commit},
        {"name": "tiny-model", "device": "cpu:0"},
        {"name": "tiny-model", "dtype": "float32"},
        {"name": "tiny-model", "cache_folder": str(hub_cache)},
        {"name": "tiny-model", "token": "hf_secret"},
        {"name": str(snapshot)},
        {"name": snapshot},
        {"name": link},
        {"name": f"{snapshot}/"},
    ]
    for spelling in spellings:
        for _ in range(2):
            assert get_model(**spelling) is model, spelling
    assert not model.is_loaded


def test_what_is_another_model_is_another_object(
    tiny: Path, make_tiny: Callable[..., Path]
) -> None:
    """Another path, number format, or a device."""
    model = get_model(tiny)
    others = [
        get_model(make_tiny("other")),
        get_model(tiny, dtype="float16"),
        get_model(tiny, device="meta"),
        get_model(tiny, trust_remote_code=True),
    ]
    assert len({id(model), *map(id, others)}) == 5


def test_a_relative_path_means_what_it_means_where_it_is_said(
    make_tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of the directory it is another model, and back again the first one."""
    for place in ("here", "there"):
        make_tiny(f"{place}/model", seed=len(place))
    found = {}
    for place in ("here", "there", "here", "there"):
        monkeypatch.chdir(tmp_path / place)
        model = get_model("model")
        assert found.setdefault(place, model) is model
        assert model.name == str((tmp_path / place / "model").resolve())
    assert found["here"].fingerprint != found["there"].fingerprint


def test_a_relative_path_with_an_open_device_stays_where_it_was_said(
    make_tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is resolved only at the load is still the directory that was meant."""
    for place in ("here", "there"):
        make_tiny(f"{place}/model", seed=len(place))
    monkeypatch.chdir(tmp_path / "here")
    model = get_model("model", device=None)
    monkeypatch.chdir(tmp_path / "there")
    assert Path(model.spec.name).parent.name == "here"


def test_many_threads_get_one_object(tiny: Path) -> None:
    """32 threads that ask at once, the first time."""
    ready = threading.Barrier(32)

    def ask(_: int) -> CachedModel:
        ready.wait()
        return get_model(str(tiny))

    with ThreadPoolExecutor(32) as pool:
        assert len({id(model) for model in pool.map(ask, range(32))}) == 1


def test_an_evicted_name_is_asked_for_anew(tiny: Path) -> None:
    """After `evict` a name is another object, with the identity of the files as they are then."""
    model = get_model(tiny)
    (tiny / "vocab.txt").write_text((tiny / "vocab.txt").read_text() + "extra\n")
    assert get_model(tiny) is model
    default_registry().resolve(model.spec)
    default_registry().handle(model.spec)
    default_registry().evict(str(tiny))
    again = get_model(tiny)
    assert again is not model
    assert again.fingerprint != model.fingerprint
    assert get_model(tiny) is again


def test_a_model_that_was_made_while_it_was_evicted_is_made_again(
    pure: PureBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the one that was just forgotten would be kept."""
    registry = default_registry()
    spec = ModelSpec("m", backend="pure", device="cpu")
    identify = ModelRegistry.identify
    made = []

    def evicting(self: ModelRegistry, asked: ModelSpec) -> Any:
        found = identify(self, asked)
        if not made:
            made.append(found)
            registry.handle(spec)
            registry.evict("m")
            pure.write("m", Files(weights="new"))
        return found

    monkeypatch.setattr(ModelRegistry, "identify", evicting)
    model = cached_model(registry, default_cache(), spec)
    assert model.fingerprint != made[0].fingerprint


def test_another_default_registry_has_models_of_its_own(tiny: Path) -> None:
    """As while fakes stand in; the first registry's object is there again when it is put back."""
    first = get_model(tiny)
    before = swap_default_registry(ModelRegistry())
    second = get_model(tiny)
    assert second is not first
    assert get_model(tiny) is second
    swap_default_registry(before)
    assert get_model(tiny) is first


def test_another_default_store_is_used_from_then_on(pure: PureBackend) -> None:
    """A model over the old one is not handed out any more."""
    first = get_model("m", backend="pure")
    first.encode("a")
    before = swap_default_cache(VectorCache(None))
    second = get_model("m", backend="pure")
    assert second is not first
    second.encode("a")
    assert default_cache().tallies.as_dict()["m"]["bypassed"] == 1
    gone = weakref.ref(second)
    del second
    swap_default_cache(before)
    assert is_let_go(gone)
    assert get_model("m", backend="pure").encode("a").tobytes() == right(["a"])


def test_a_registry_that_nobody_has_any_more_goes_with_its_models(pure: PureBackend) -> None:
    """`get_model` keeps no registry of a test alive."""
    model = get_model("m", backend="pure")
    registry = weakref.ref(default_registry())
    gone = weakref.ref(model)
    del model
    swap_default_registry(None)
    assert is_let_go(registry)
    assert is_let_go(gone)


# ------------------------------------------------------------------------------ tokens


def test_a_token_is_kept_nowhere(tiny: Path, hub_cache: Path) -> None:
    """Not in the repr of the model or its spec, and not in what is remembered of calls."""
    add_to_hub_cache(hub_cache, "org/private", tiny)
    api._spec.cache_clear()
    model = get_model("org/private", token="hf_secret")
    assert api._spec.cache_info().currsize == 0
    assert "secret" not in f"{model!r} {model.spec!r} {model.spec}"


# ------------------------------------------------------------------------------ errors


def test_a_wrong_name_fails_at_once() -> None:
    """Not at the first text."""
    with pytest.raises(ModelNotFoundError):
        get_model("./no-such-directory")


def test_a_failure_is_not_remembered(tiny: Path, tmp_path: Path) -> None:
    """A directory that appears later is found."""
    with pytest.raises(ModelNotFoundError):
        get_model(str(tmp_path / "later"))
    shutil.copytree(tiny, tmp_path / "later")
    assert get_model(str(tmp_path / "later")).name == str((tmp_path / "later").resolve())


@pytest.mark.parametrize("options", [{"device": "gpu 0"}, {"dtype": "int4"}, {"backend": "none"}])
def test_a_value_that_cannot_be_used_is_named(options: dict[str, str], tiny: Path) -> None:
    """By `ModelSpecError`."""
    with pytest.raises(ModelSpecError, match=next(iter(options))):
        get_model(tiny, **options)
