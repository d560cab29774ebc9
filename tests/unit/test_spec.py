"""`ModelSpec`: two ways to say one model are one key, and a bad value says what can be used."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.children import python
from support.models import COMMIT, add_to_hub_cache

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import ModelSpecError
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.backends.torch import TorchBackend

NAME = "sentence-transformers/tiny"


@pytest.fixture
def resolve() -> Callable[..., ModelSpec]:
    """`resolve(name, **spec)`: the spec under which a registry keeps that model."""
    backend, artifacts = TorchBackend(), ArtifactStore()

    def resolve(name: Any, **options: Any) -> ModelSpec:
        options.setdefault("device", "cpu")
        return backend.prepare(ModelSpec(name, **options), artifacts)

    return resolve


# ------------------------------------------------------------------------------------ one model


@pytest.mark.parametrize("blobs", [True, False], ids=["links to blobs", "copies"])
def test_all_ways_to_say_one_model_are_one_spec(
    resolve: Callable[..., ModelSpec],
    tiny: Path,
    hub_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    blobs: bool,
) -> None:
    """Short and full name, branch, commit, the snapshot's path and `None` devices: one key."""
    monkeypatch.setattr("pytest_embedcache.models.resources.best_device", lambda: "cpu")
    snapshot = add_to_hub_cache(hub_cache, NAME, tiny, blobs=blobs)
    specs = [
        resolve("tiny"),
        resolve(NAME),
        resolve("tiny", revision="main"),
        resolve(NAME, revision=COMMIT),
        resolve("tiny", device=None),
        resolve("tiny", device="cpu:0"),
        resolve("tiny", dtype="float32"),
        resolve("tiny", cache_folder=str(hub_cache)),
        resolve("tiny", token="hf_secret"),
        resolve(str(snapshot)),
        resolve(snapshot),
        resolve(os.path.relpath(snapshot)),
    ]
    assert len(set(specs)) == 1
    assert {hash(spec) for spec in specs} == {hash(specs[0])}
    assert specs[0] == ModelSpec(
        NAME,
        revision=COMMIT,
        device="cpu",
        dtype="float32",
        path=os.path.realpath(snapshot),
    )
    assert all(spec.is_resolved for spec in specs)


def test_a_device_without_an_index_is_resolved_to_the_one_it_means(
    resolve: Callable[..., ModelSpec], tiny: Path
) -> None:
    """`cuda` and `cuda:0` are one key, as long as nobody chose another."""
    assert resolve(tiny, device="cuda") == resolve(tiny, device="cuda:0")


def test_a_directory_is_one_spec_however_it_is_reached(
    resolve: Callable[..., ModelSpec], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path, a Path, a link and a home directory lead to one real path."""
    link = tmp_path / "link"
    link.symlink_to(tiny)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ways = [str(tiny), tiny, tiny.name, Path(tiny.name), link, f"~/{tiny.name}", f"{tiny}/"]
    (spec,) = {resolve(way) for way in ways}
    assert spec.name == spec.path == os.path.realpath(tiny)
    assert spec.revision is None


def test_a_moved_branch_is_another_spec(
    resolve: Callable[..., ModelSpec], tiny: Path, hub_cache: Path
) -> None:
    """After `refs/main` has moved, the same name is a second key."""
    add_to_hub_cache(hub_cache, NAME, tiny)
    before = resolve("tiny")
    add_to_hub_cache(hub_cache, NAME, tiny, commit="b" * 40)
    after = resolve("tiny")
    assert (before.revision, after.revision) == (COMMIT, "b" * 40)
    assert before != after
    assert resolve("tiny", revision=COMMIT) == before


@pytest.mark.parametrize(
    "other",
    [
        {"device": "cuda:1"},
        {"dtype": "float16"},
        {"trust_remote_code": True},
    ],
    ids=str,
)
def test_what_changes_the_loaded_model_changes_the_spec(
    resolve: Callable[..., ModelSpec], tiny: Path, other: dict[str, Any]
) -> None:
    """Another device, dtype or trust is another model in memory."""
    assert resolve(tiny) != resolve(tiny, **other)


def test_a_relative_path_means_what_it_meant_when_it_was_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `Path` is made absolute at once: it is never a name on the Hub."""
    monkeypatch.chdir(tmp_path)
    assert ModelSpec(Path("org/model")).name == str(tmp_path / "org" / "model")
    assert ModelSpec("org/model").name == "org/model"


def test_a_directory_wins_over_the_hub(
    resolve: Callable[..., ModelSpec],
    tiny: Path,
    hub_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in sentence-transformers: a directory of that name is the model."""
    add_to_hub_cache(hub_cache, "sentence-transformers/tiny-bert", tiny)
    monkeypatch.chdir(tmp_path / "..")
    assert resolve("tiny-bert").revision == COMMIT
    monkeypatch.chdir(tiny.parent)
    assert resolve("tiny-bert").path == os.path.realpath(tiny)


# ---------------------------------------------------------------------------------- the spec itself


def test_a_resolved_spec_is_not_resolved_any_more_when_it_is_about_another_model(
    resolve: Callable[..., ModelSpec], tiny: Path
) -> None:
    """Replacing the name drops the path that it had led to; replacing the device does not."""
    spec = resolve(tiny)
    assert not spec.replace(name="another").is_resolved
    assert not spec.replace(revision="v2").is_resolved
    assert not spec.replace(cache_folder="elsewhere").is_resolved
    assert not spec.replace(device=None).is_resolved
    assert not spec.replace(dtype=None).is_resolved
    moved = spec.replace(device="cuda:0")
    assert moved.is_resolved
    assert moved.path == spec.path


def test_a_resolved_spec_resolves_to_itself(
    resolve: Callable[..., ModelSpec], tiny: Path, tmp_path: Path
) -> None:
    """Also where its Hub cache is not the usual one, which the resolved spec does not name."""
    elsewhere = tmp_path / "other cache"
    add_to_hub_cache(elsewhere, NAME, tiny)
    spec = resolve("tiny", cache_folder=elsewhere)
    assert spec.cache_folder is None
    again = TorchBackend().prepare(spec.replace(device="cpu"), ArtifactStore())
    assert again == spec


@pytest.mark.parametrize(
    ("device", "meant"),
    [
        ("cpu", "cpu"),
        ("cpu:0", "cpu"),
        ("mps:0", "mps"),
        ("cuda", "cuda"),
        ("cuda:0", "cuda:0"),
        ("cuda:01", "cuda:1"),
        (None, None),
    ],
)
def test_a_device_has_one_spelling(device: str | None, meant: str | None) -> None:
    """Where torch sees one device, so do we; `cuda` is not yet a device."""
    assert ModelSpec("m", device=device).device == meant


def test_a_device_and_a_dtype_may_be_torchs_own() -> None:
    """Objects that print as torch's do are taken."""

    class Named:
        def __init__(self, text: str) -> None:
            self.text = text

        def __str__(self) -> str:
            return self.text

    device: Any = Named("cuda:1")
    dtype: Any = Named("torch.float16")
    spec = ModelSpec("m", device=device, dtype=dtype)
    assert (spec.device, spec.dtype) == ("cuda:1", "float16")


def test_a_token_is_in_neither_equality_nor_hash_nor_repr() -> None:
    """Whoever may read a model gets the same one, and no log shows the token."""
    secret, none = ModelSpec("m", token="hf_secret"), ModelSpec("m")
    assert secret == none
    assert hash(secret) == hash(none)
    assert "hf_secret" not in repr(secret)
    assert "hf_secret" not in str(secret)
    assert secret.token == "hf_secret"


def test_a_spec_cannot_be_changed() -> None:
    """It is a key."""
    spec = ModelSpec("m")
    with pytest.raises(AttributeError):
        spec.device = "cpu"  # type: ignore[misc]
    assert {spec: 1}[ModelSpec("m")] == 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, ModelSpec.replace])
def test_a_copy_is_equal(copied: Callable[[ModelSpec], ModelSpec]) -> None:
    """With its token."""
    spec = ModelSpec("m", device="cpu", token="hf_secret")
    assert copied(spec) == spec
    assert hash(copied(spec)) == hash(spec)
    assert copied(spec).token == "hf_secret"


RECEIVE = """
import pickle, sys
from pytest_embedcache import ModelSpec
models = {ModelSpec("org/model", device="cuda:1", dtype="float16"): "the model"}
print(models[pickle.loads(bytes.fromhex(sys.argv[1]))])
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_spec_sent_to_another_process_is_the_same_key_there(seed: str) -> None:
    """Where strings have other hashes, too."""
    sent = pickle.dumps(ModelSpec("org/model", device="cuda:1", dtype="float16")).hex()
    assert python(RECEIVE, sent, PYTHONHASHSEED=seed) == "the model"


# --------------------------------------------------------------------------------------- bad values


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"name": ""}, "give a name such as 'all-MiniLM-L6-v2', or a directory"),
        ({"name": "  "}, "give a name"),
        ({"name": "a\0b"}, "give a name"),
        ({"name": b"minilm"}, "give a name"),
        ({"name": None}, "give a name"),
        ({"device": "gpu 1"}, "use 'cpu', 'cuda', 'cuda:1', 'mps', … or None"),
        ({"device": ""}, "use 'cpu'"),
        ({"device": "CUDA"}, "use 'cpu'"),
        ({"device": "cuda:one"}, "use 'cpu'"),
        ({"device": "cuda:١"}, "use 'cpu'"),
        ({"device": 0}, "use 'cpu'"),
        ({"dtype": "fp16"}, "use one of float32, float16, bfloat16, float64, or None"),
        ({"dtype": "int8"}, "use one of float32"),
        ({"form": "int4"}, "use one of float32"),
        ({"trust_remote_code": "yes"}, "use True or False"),
        ({"trust_remote_code": 1}, "use True or False"),
        ({"revision": ""}, "use a string that is not empty"),
        ({"revision": 3}, "use a string that is not empty"),
        ({"backend": ""}, "use a string that is not empty"),
        ({"cache_folder": 3}, "give a directory, or None for the usual one"),
        ({"cache_folder": ""}, "give a directory"),
    ],
    ids=str,
)
def test_a_bad_value_says_what_can_be_used(options: dict[str, Any], remedy: str) -> None:
    """The error names the parameter, the value and the remedy."""
    ((field, value),) = options.items()
    with pytest.raises(ModelSpecError) as caught:
        ModelSpec(**{"name": "m", **options})
    assert caught.value.field == ("model" if field == "name" else field)
    assert caught.value.value == repr(value)
    assert repr(value) in str(caught.value)
    assert remedy in str(caught.value)
