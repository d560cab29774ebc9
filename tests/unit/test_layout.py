"""What a model's directory holds: nothing that is whole is called damaged."""

from __future__ import annotations

import json
import os
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.models import add_to_hub_cache, write_safetensors

from pytest_embedcache.layout import (
    adapter_bases,
    code_repositories,
    matches,
    module_directories,
    problems,
    weights_of,
)

TYPES = "sentence_transformers.models"


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_a_whole_model_has_no_problems(tiny: Path, hub_cache: Path) -> None:
    """Neither as a directory nor in a Hub cache, with links or without."""
    assert problems(str(tiny)) == ()
    assert problems(str(add_to_hub_cache(hub_cache, "a/b", tiny, blobs=True))) == ()
    assert problems(str(add_to_hub_cache(hub_cache, "a/c", tiny))) == ()


def test_the_real_model_has_no_problems(minilm: Path) -> None:
    """All of its files are known to be whole."""
    assert problems(str(minilm)) == ()


def test_a_directory_without_a_model_says_so_without_looking_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One problem; a home directory given by mistake is not walked through."""

    def walk(*_: object) -> None:
        raise AssertionError("the directory was walked")

    (tmp_path / "broken").symlink_to("nowhere")
    monkeypatch.setattr(os, "walk", walk)
    monkeypatch.setattr(os, "scandir", walk)
    monkeypatch.setattr(Path, "rglob", walk)
    monkeypatch.setattr(Path, "iterdir", walk)
    assert problems(str(tmp_path)) == ("there is neither modules.json nor config.json",)


@pytest.mark.parametrize("name", ["README.md", "model.onnx", ".gitattributes", "tf_model.h5"])
def test_a_link_that_nobody_follows_may_lead_to_nothing(tiny: Path, name: str) -> None:
    """Whoever prunes another engine's blobs from the Hub cache has a whole model."""
    (tiny / name).symlink_to("gone")
    assert problems(str(tiny)) == ()


def test_only_a_repository_has_to_have_a_tokenizer(tiny: Path) -> None:
    """A local model may get its tokenizer elsewhere; a snapshot without one is incomplete."""
    (tiny / "vocab.txt").unlink()
    (tiny / "tokenizer_config.json").unlink()
    assert problems(str(tiny), complete=False) == ()
    assert problems(str(tiny)) == ("tokenizer.json is missing",)


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model", "preprocessor_config.json"])
def test_any_tokenizer_will_do(tiny: Path, name: str) -> None:
    """Also what an image model has in its place."""
    (tiny / "vocab.txt").unlink()
    (tiny / "tokenizer_config.json").unlink()
    (tiny / name).write_text("{}")
    assert problems(str(tiny)) == ()


def test_of_a_module_of_the_models_own_nothing_is_demanded(tiny: Path) -> None:
    """Whatever its class is called: it may need no configuration and no weights."""
    own = [{"path": f"{i}_Own", "type": f"its_own.{c}"} for i, c in enumerate(("Dense", "Pooling"))]
    write(tiny / "modules.json", [{"path": "", "type": f"{TYPES}.Transformer"}, *own])
    assert problems(str(tiny)) == ()


# ------------------------------------------------------------------------------------------ weights


def test_safetensors_come_before_pickle(tiny: Path) -> None:
    """As torch reads them: one set of files, and not the other."""
    (tiny / "pytorch_model.bin").write_bytes(b"old")
    assert weights_of(tiny) == [tiny / "model.safetensors"]
    (tiny / "model.safetensors").unlink()
    assert weights_of(tiny) == [tiny / "pytorch_model.bin"]
    assert problems(str(tiny)) == ()


def test_a_pickle_that_is_empty_or_cut_off_is_named(tiny: Path) -> None:
    """torch writes an archive, whose table of contents is at its end."""
    (tiny / "model.safetensors").unlink()
    pickle = tiny / "pytorch_model.bin"
    pickle.write_bytes(b"")
    assert problems(str(tiny)) == ("pytorch_model.bin is empty",)
    with zipfile.ZipFile(pickle, "w") as archive:
        archive.writestr("data.pkl", b"x" * 1000)
    assert problems(str(tiny)) == ()
    pickle.write_bytes(pickle.read_bytes()[:-40])
    assert problems(str(tiny)) == ("pytorch_model.bin is cut off",)


@pytest.fixture
def sharded(tiny: Path) -> Path:
    """A model whose weights are in two files."""
    (tiny / "model.safetensors").unlink()
    for shard in ("model-1-of-2.safetensors", "model-2-of-2.safetensors"):
        write_safetensors(tiny / shard, {"w": ([1], [1.0])})
    table = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    write(tiny / "model.safetensors.index.json", {"weight_map": table})
    return tiny


def test_all_shards_of_an_index_are_the_weights(sharded: Path) -> None:
    """Each one once, and one that is missing is named."""
    names = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]
    assert weights_of(sharded) == [sharded / name for name in names]
    assert problems(str(sharded)) == ()
    (sharded / names[1]).unlink()
    assert problems(str(sharded)) == (f"{names[1]} is missing",)


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        ({"weight_map": {"a": "../other.safetensors"}}, "names a file outside its directory"),
        ({"weight_map": {"a": "/etc/passwd"}}, "names a file outside its directory"),
        ({"weight_map": {"a": "inner/x.safetensors"}}, "names a file outside its directory"),
        ({"weight_map": ["x"]}, "has no table of shards"),
        ({"weight_map": {"a": 3}}, "has no table of shards"),
        ({}, "has no table of shards"),
        ([], "has no table of shards"),
    ],
)
def test_an_index_leads_to_files_beside_it_or_nowhere(
    sharded: Path, index: Any, problem: str
) -> None:
    """A file elsewhere is not read, however the index names it."""
    write(sharded / "model.safetensors.index.json", index)
    assert problems(str(sharded))[0] == f"model.safetensors.index.json {problem}"


# ------------------------------------------------------------------------------------------ modules


def test_the_modules_are_those_of_the_list(tiny: Path) -> None:
    """In its order; without a list there is one transformer in the root."""
    listed = [(d.name, kind.rpartition(".")[2]) for d, kind in module_directories(tiny)]
    expected = [(tiny.name, "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    assert listed == expected
    (tiny / "modules.json").unlink()
    assert list(module_directories(tiny)) == [(tiny, "Transformer")]
    assert problems(str(tiny)) == ()


@pytest.fixture(params=["router_config.json", "config.json"])
def routed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Queries through one static embedding, documents through another; of today, and of old."""
    model = tmp_path / "routed"
    kind = "Router" if request.param == "router_config.json" else "Asym"
    write(model / "modules.json", [{"path": "", "type": f"{TYPES}.{kind}"}])
    routes = {f"{route}_0_Static": f"{TYPES}.StaticEmbedding" for route in ("query", "document")}
    write(model / request.param, {"types": routes, "structure": {}})
    for route in routes:
        write(model / route / "tokenizer.json", {})
        write_safetensors(model / route / "model.safetensors", {"w": ([1], [1.0])})
    (model / "config_sentence_transformers.json").write_text("{}")
    return model


def test_a_routers_modules_are_the_models(routed: Path) -> None:
    """Each route's directory is looked into, and what is missing there is named."""
    if not (routed / "config.json").exists():
        write(routed / "config.json", {"model_type": "of nobody"})
    inner = ["query_0_Static", "document_0_Static"]
    assert [d.name for d, _ in module_directories(routed)] == [routed.name, *inner]
    assert problems(str(routed)) == ()
    (routed / inner[1] / "model.safetensors").unlink()
    assert problems(str(routed)) == ("document_0_Static/model.safetensors is missing",)


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ({"../outside": "x.Dense"}, "modules.json names '../outside', which lies outside"),
        ({"": "x.Router"}, "the router in '' leads back to itself"),
        ({".": "x.Router"}, "leads back to itself"),
        (["x"], "router_config.json has no table of types"),
    ],
)
def test_a_router_leads_into_the_model_or_nowhere(
    tmp_path: Path, routes: Any, problem: str
) -> None:
    """Neither out of it, nor round in a circle."""
    write(tmp_path / "modules.json", [{"path": "", "type": f"{TYPES}.Router"}])
    write(tmp_path / "router_config.json", {"types": routes})
    assert problem in problems(str(tmp_path))[0]


# ----------------------------------------------------------------------------------------- adapters


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A repository with an adapter alone."""
    model = tmp_path / "adapter"
    write(model / "adapter_config.json", {"base_model_name_or_path": "org/base", "revision": "x"})
    write_safetensors(model / "adapter_model.safetensors", {"w": ([1], [1.0])})
    write(model / "tokenizer.json", {})
    return model


def test_an_adapter_is_whole_without_its_base(adapter: Path) -> None:
    """It needs no configuration of its own; its base lies elsewhere and is named."""
    assert problems(str(adapter)) == ()
    assert weights_of(adapter) == [adapter / "adapter_model.safetensors"]
    assert list(adapter_bases(adapter)) == ["org/base"]


def test_an_adapter_beside_its_base_needs_no_other(adapter: Path, tiny: Path) -> None:
    """transformers takes a model with a configuration to be the base; the adapter still counts."""
    for file in ("config.json", "model.safetensors"):
        (adapter / file).write_bytes((tiny / file).read_bytes())
    assert list(adapter_bases(adapter)) == []
    names = [file.name for file in weights_of(adapter)]
    assert names == ["model.safetensors", "adapter_model.safetensors"]


def test_a_model_without_an_adapter_has_no_base(tiny: Path) -> None:
    """Also where a file named like an adapter's weights lies about."""
    (tiny / "adapter_model.safetensors").write_bytes(b"")
    assert list(adapter_bases(tiny)) == []
    assert weights_of(tiny) == [tiny / "model.safetensors"]


# --------------------------------------------------------------------------------- code elsewhere


def test_the_repositories_of_a_models_code_are_known(tiny: Path) -> None:
    """Those that are not its own, of the model and of its tokenizer."""
    assert code_repositories(tiny) == set()
    own, model, tokenizer = "own.Model", "org/code--modeling.Model", "org/other--tokenizing.Mine"
    write(tiny / "config.json", {"auto_map": {"AutoModel": model, "AutoConfig": own}})
    write(tiny / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": [tokenizer, None]}})
    assert code_repositories(tiny) == {"org/code", "org/other"}
    for broken in ([], {"auto_map": "x"}, {"auto_map": None}):
        write(tiny / "config.json", broken)
        assert code_repositories(tiny) == {"org/other"}


# ------------------------------------------------------------------------------ names of files

PATTERNS = ("ab", "a*", "*b", "a*a", "*", "*ab*", "a*b*a", "tokenizer*.json", "*vocab*", "vocab.*")


@given(
    name=st.text("ab.", max_size=6) | st.sampled_from(["tokenizer.json", "vocab.txt", "Ab", "a\n"]),
    pattern=st.sampled_from(PATTERNS),
)
@example("a", "a*a")
@example("aba", "a*b*a")
@example("ba", "a*b*a")
def test_a_name_matches_as_fnmatch_has_it(name: str, pattern: str) -> None:
    """Alone, and among other patterns that it does not match."""
    expected = fnmatch(name, pattern)
    assert matches(name, (pattern,)) == expected
    assert matches(name, ("other", "other*", pattern)) == expected
