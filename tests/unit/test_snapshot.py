"""Where a model's files are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.models import COMMIT, add_to_hub_cache

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import ModelNotFoundError, SnapshotError
from pytest_embedcache.snapshot import Place, bases_of, check, hub_cache_around, locate
from pytest_embedcache.snapshot import hub_cache as hub_cache_of

NAME = "sentence-transformers/tiny"


def test_a_name_leads_to_the_commit_of_its_branch(tiny: Path, hub_cache: Path) -> None:
    """`refs/main` says which snapshot it is."""
    snapshot = add_to_hub_cache(hub_cache, NAME, tiny)
    place = locate(ModelSpec("tiny"))
    assert (place.repository, place.commit, place.path) == (NAME, COMMIT, str(snapshot))
    assert place.name == NAME


def test_a_commit_needs_no_ref(tiny: Path, hub_cache: Path) -> None:
    """A revision that is a commit is looked up as it is; a tag by its own ref."""
    snapshot = add_to_hub_cache(hub_cache, NAME, tiny)
    refs = snapshot.parents[1] / "refs"
    (refs / "main").unlink()
    (refs / "v1.0").write_text(COMMIT)
    assert locate(ModelSpec("tiny", revision=COMMIT)).path == str(snapshot)
    assert locate(ModelSpec("tiny", revision="v1.0")).path == str(snapshot)
    assert locate(ModelSpec("tiny")).path is None


def test_a_name_that_is_not_here_is_a_place_without_a_path(hub_cache: Path) -> None:
    """Not an error yet: it can be fetched. Where it was looked for is told."""
    place = locate(ModelSpec("all-MiniLM-L6-v2"))
    folder = hub_cache / "models--sentence-transformers--all-MiniLM-L6-v2"
    assert place == Place(
        "sentence-transformers/all-MiniLM-L6-v2", None, None, looked_in=(str(folder),)
    )


@pytest.mark.parametrize("content", ["", "main", "abc", "../../../x", f"{COMMIT}\nmore", "é" * 40])
def test_a_damaged_ref_leads_nowhere(tiny: Path, hub_cache: Path, content: str) -> None:
    """What is no commit is not taken for a directory's name."""
    snapshot = add_to_hub_cache(hub_cache, NAME, tiny)
    (snapshot.parents[1] / "refs" / "main").write_text(content)
    place = locate(ModelSpec("tiny"))
    assert (place.commit, place.path) == (None, None)


def test_a_ref_to_a_snapshot_that_is_gone_still_names_the_commit(
    tiny: Path, hub_cache: Path
) -> None:
    """So that its fingerprint can be remembered."""
    shutil.rmtree(add_to_hub_cache(hub_cache, NAME, tiny))
    place = locate(ModelSpec("tiny"))
    assert (place.commit, place.path) == (COMMIT, None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/no/such/model", "there is no such directory"),
        ("./missing", "there is no such directory"),
        ("~/missing", "there is no such directory"),
        ("a/b/c", "there is no such directory"),
        ("models\\minilm", "there is no such directory"),
        ("{file}", "is a file, not a directory"),
    ],
)
def test_a_path_that_leads_nowhere_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    """It names the model, why, where it looked and what can be given; nothing is asked for."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    name = name.format(file=file)
    with pytest.raises(ModelNotFoundError) as caught:
        locate(ModelSpec(name))
    message = str(caught.value)
    assert message.startswith(f"model {name!r}: {reason}. Looked in: {os.sep}")
    assert "Give the directory that holds modules.json" in message
    assert caught.value.looked_in == (os.path.abspath(os.path.expanduser(name)),)


def test_a_file_in_the_working_directory_is_not_asked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`model.safetensors` is a mistake, and no model of that name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="is a file, not a directory"):
        locate(ModelSpec("model.safetensors"))


def test_a_directory_inside_a_hub_cache_is_known_as_the_models(tiny: Path, hub_cache: Path) -> None:
    """A snapshot given by its path has its repository and commit; what is below it has not."""
    snapshot = add_to_hub_cache(hub_cache, NAME, tiny)
    assert locate(ModelSpec(str(snapshot))).name == NAME
    assert hub_cache_around(str(snapshot)) == hub_cache
    inside = locate(ModelSpec(str(snapshot / "1_Pooling")))
    assert (inside.repository, inside.commit) == (None, None)
    assert hub_cache_around(str(tiny)) is None


def test_a_resolved_spec_is_where_it_was_resolved_to(
    tiny: Path, hub_cache: Path, tmp_path: Path
) -> None:
    """Its path comes before its name; where the path is gone, the name leads on."""
    elsewhere = tmp_path / "other"
    there = add_to_hub_cache(elsewhere, NAME, tiny)
    spec = ModelSpec(NAME, revision=COMMIT, device="cpu", dtype="float32", path=str(there))
    assert locate(spec).path == str(there)
    here = add_to_hub_cache(hub_cache, NAME, tiny)
    shutil.rmtree(elsewhere)
    assert locate(spec).path == str(here)


VARIABLES = ("SENTENCE_TRANSFORMERS_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")


def test_the_hub_cache_is_where_sentence_transformers_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument, then these variables in this order, then below HF_HOME or the cache home."""
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = [hub_cache_of()]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    found.append(hub_cache_of())
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    found.append(hub_cache_of())
    for variable in reversed(VARIABLES):
        monkeypatch.setenv(variable, f"$HOME/{variable}")
        found.append(hub_cache_of())
    found.append(hub_cache_of("~/given"))
    assert found == [
        tmp_path / ".cache" / "huggingface" / "hub",
        tmp_path / "xdg" / "huggingface" / "hub",
        tmp_path / "hf" / "hub",
        *(tmp_path / variable for variable in reversed(VARIABLES)),
        tmp_path / "given",
    ]


def test_an_incomplete_model_is_an_error_with_every_problem(tiny: Path, hub_cache: Path) -> None:
    """The message names the model, its path, all that is wrong and what to do."""
    (tiny / "model.safetensors").unlink()
    (tiny / "1_Pooling" / "config.json").unlink()
    with pytest.raises(SnapshotError) as local:
        check("tiny", locate(ModelSpec(str(tiny))))
    assert local.value.problems == (
        "model.safetensors is missing",
        "1_Pooling/config.json is missing",
    )
    assert local.value.path == str(tiny)
    assert "Copy the model again" in str(local.value)
    snapshot = add_to_hub_cache(hub_cache, NAME, tiny)
    with pytest.raises(SnapshotError) as hub:
        check("tiny", locate(ModelSpec("tiny")))
    assert hub.value.problems == local.value.problems
    assert f"Delete {snapshot} and run once with network access" in str(hub.value)


def test_an_adapters_base_is_looked_for_in_the_cache_that_holds_the_adapter(
    tiny: Path, tmp_path: Path
) -> None:
    """And in the usual cache for an adapter that lies anywhere else."""
    cache = tmp_path / "cache"
    base = add_to_hub_cache(cache, "org/base", tiny)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    snapshot = add_to_hub_cache(cache, "org/adapter", adapter)
    assert [place.path for place in bases_of(snapshot)] == [str(base)]
    assert [place.path for place in bases_of(adapter)] == [None]
