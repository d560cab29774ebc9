"""A fingerprint that was computed once is known where the files are gone; and what it needs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.children import python
from support.damage import flip_byte, put
from support.models import COMMIT, MINILM, add_to_hub_cache

from pytest_embedcache import ModelSpec, notices
from pytest_embedcache.errors import ModelNotFoundError, SnapshotError
from pytest_embedcache.fingerprint import Fingerprint, fingerprint_of
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.identity import identify_snapshot

NAME = "sentence-transformers/tiny"


@pytest.fixture
def snapshot(tiny: Path, hub_cache: Path) -> Path:
    """A tiny model in the Hub cache, as on Linux and macOS."""
    return add_to_hub_cache(hub_cache, NAME, tiny, blobs=True)


def ask(name: str | Path, **options: Any) -> Fingerprint:
    return fingerprint_of(ModelSpec(str(name), **options))


# ------------------------------------------------------------------------------- the files are gone


def lose_the_weights(snapshot: Path) -> None:
    (snapshot / "model.safetensors").unlink()


def lose_the_blob(snapshot: Path) -> None:
    (snapshot / "model.safetensors").resolve().unlink()


def lose_the_snapshot(snapshot: Path) -> None:
    shutil.rmtree(snapshot)


def lose_the_cache(snapshot: Path) -> None:
    shutil.rmtree(snapshot.parents[2])


@pytest.mark.parametrize(
    "lose", [lose_the_weights, lose_the_blob, lose_the_snapshot, lose_the_cache]
)
def test_a_fingerprint_is_remembered_where_the_files_are_gone(
    snapshot: Path, lose: Callable[[Path], None]
) -> None:
    """So that a store can answer: by short and full name, by branch and by commit."""
    before = ask("tiny")
    lose(snapshot)
    for found in (
        ask("tiny"),
        ask(NAME),
        ask("tiny", revision="main"),
        ask("tiny", revision=COMMIT),
    ):
        assert found.digest == before.digest
        assert found.source == "remembered"
        assert found.parts == (("commit", COMMIT),)
    assert before.source == "content"


def test_it_is_remembered_across_processes(snapshot: Path) -> None:
    """Another process computed it, this one has only the cache directory."""
    computed = python(
        "from pytest_embedcache import ModelSpec; print(ModelSpec('tiny').fingerprint())"
    )
    lose_the_cache(snapshot)
    assert ask("tiny").digest == computed


def test_an_identity_without_its_files_has_no_signature(snapshot: Path) -> None:
    """Nothing that is loaded can be tied to files that are not whole."""
    artifacts = ArtifactStore()
    before = identify_snapshot(ModelSpec("tiny"), artifacts)
    lose_the_blob(snapshot)
    after = identify_snapshot(ModelSpec("tiny"), artifacts)
    assert before.signature is not None
    assert after.signature is None
    assert (after.fingerprint, after.dtype) == (before.fingerprint, before.dtype)
    assert after.metadata == before.metadata


def test_each_dtype_and_trust_is_remembered_for_itself(snapshot: Path, tiny: Path) -> None:
    """What was not asked for when the files were here is not known."""
    put("modeling.py")(snapshot)
    known = {
        options: ask("tiny", **dict(options)).digest
        for options in (
            (("dtype", "float16"),),
            (("trust_remote_code", True),),
        )
    }
    lose_the_cache(snapshot)
    for options, digest in known.items():
        assert ask("tiny", **dict(options)).digest == digest
    for unknown in ({}, {"dtype": "bfloat16"}, {"dtype": "float16", "trust_remote_code": True}):
        with pytest.raises(ModelNotFoundError):
            ask("tiny", **unknown)


def test_a_model_that_was_never_here_is_an_error_that_says_where_it_was_looked_for(
    hub_cache: Path,
) -> None:
    """With the name as it was given, and what to do."""
    with pytest.raises(ModelNotFoundError) as caught:
        ask("tiny")
    message = str(caught.value)
    assert message.startswith("model 'tiny': its files are not on this machine")
    assert str(hub_cache) in message
    assert "Load the model once with network access" in message


def test_a_moved_main_is_not_answered_from_memory_of_the_old_one(
    snapshot: Path, tiny: Path, hub_cache: Path
) -> None:
    """`refs/main` is here and names a commit that was never fingerprinted."""
    ask("tiny")
    flip_byte(tiny / "model.safetensors")
    moved = add_to_hub_cache(hub_cache, NAME, tiny, commit="b" * 40)
    shutil.rmtree(moved)
    with pytest.raises(ModelNotFoundError):
        ask("tiny")
    assert ask("tiny", revision=COMMIT).source == "content"


def test_a_main_that_was_moved_back_is_answered_with_what_it_is_now(
    snapshot: Path, tiny: Path, hub_cache: Path
) -> None:
    """The commit that `refs/main` names decides, and not what was asked for last."""
    first = ask("tiny")
    flip_byte(tiny / "model.safetensors")
    moved = add_to_hub_cache(hub_cache, NAME, tiny, commit="b" * 40)
    assert ask("tiny").digest != first.digest
    for gone in (snapshot, moved):
        shutil.rmtree(gone)
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    assert ask("tiny").digest == first.digest


def test_the_memory_of_a_branch_is_of_its_last_commit(
    snapshot: Path, tiny: Path, hub_cache: Path
) -> None:
    """Where even the refs are gone, `main` is what it was last."""
    ask("tiny")
    flip_byte(tiny / "model.safetensors")
    add_to_hub_cache(hub_cache, NAME, tiny, commit="b" * 40)
    last = ask("tiny")
    lose_the_cache(snapshot)
    assert ask("tiny").digest == last.digest


def test_an_old_snapshot_given_by_its_path_is_not_remembered_as_main(
    snapshot: Path, tiny: Path, hub_cache: Path
) -> None:
    """Nor is one given by its commit, or resolved to it."""
    flip_byte(tiny / "model.safetensors")
    add_to_hub_cache(hub_cache, NAME, tiny, commit="b" * 40)
    main = ask("tiny")
    old = ask(snapshot)
    assert ask("tiny", revision=COMMIT).digest == old.digest
    resolved = ModelSpec(NAME, device="cpu", dtype="float32", path=str(snapshot))
    assert fingerprint_of(resolved).digest == old.digest
    lose_the_cache(snapshot)
    assert ask("tiny").digest == main.digest
    assert ask("tiny", revision=COMMIT).digest == old.digest


def test_a_directory_that_is_no_snapshot_is_not_remembered(tiny: Path, cache_dir: Path) -> None:
    """A path has no commit: what lies there next is another model."""
    ask(tiny)
    assert not (cache_dir / "v1" / "fingerprints").exists()
    (tiny / "model.safetensors").unlink()
    with pytest.raises(SnapshotError, match=r"model\.safetensors is missing"):
        ask(tiny)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        {"fingerprint": "short"},
        {"fingerprint": None},
        {"repository": "another/model"},
        {"commit": "b" * 40},
    ],
    ids=str,
)
def test_a_damaged_memory_is_no_memory(
    snapshot: Path, cache_dir: Path, content: bytes | dict[str, object]
) -> None:
    """No answer is better than a wrong one; with the files it is written anew."""
    before = ask("tiny").digest
    for file in (cache_dir / "v1" / "fingerprints").iterdir():
        damaged = content
        if isinstance(damaged, dict):
            damaged = json.dumps(json.loads(file.read_bytes()) | damaged).encode()
        file.write_bytes(damaged)
    hidden = snapshot.rename(snapshot.with_name("hidden"))
    with pytest.raises(ModelNotFoundError):
        ask("tiny")
    hidden.rename(snapshot)
    assert ask("tiny").digest == before
    shutil.rmtree(snapshot)
    assert ask("tiny").digest == before


def test_a_cache_directory_that_cannot_be_written_is_one_notice(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fingerprint is right, and nothing is remembered."""
    expected = ask("tiny").digest
    (tmp_path / "blocked").write_bytes(b"")
    monkeypatch.setenv("EMBEDCACHE_DIR", str(tmp_path / "blocked" / "cache"))
    assert ask("tiny").digest == expected
    (message,) = notices.counts()
    assert str(tmp_path / "blocked" / "cache") in message
    lose_the_cache(snapshot)
    with pytest.raises(ModelNotFoundError):
        ask("tiny")


def test_asking_again_writes_nothing(snapshot: Path, cache_dir: Path) -> None:
    """What is remembered already is left as it is."""
    ask("tiny")
    files = [*(cache_dir / "v1" / "fingerprints").iterdir()]
    assert len(files) == 2  # the branch, and its commit
    before = [os.stat(file).st_ino for file in files]
    ask("tiny")
    assert [os.stat(file).st_ino for file in files] == before


# ---------------------------------------------------------------------------------- what it needs

ALONE = """
import sys
from pytest_embedcache import ModelSpec

def refuse(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(f"the network was asked: {event}")

sys.addaudithook(refuse)
print(ModelSpec(sys.argv[1]).fingerprint())
heavy = {"torch", "numpy", "transformers", "sentence_transformers", "huggingface_hub", "filelock",
         "safetensors", "pytest"}
print(*sorted(heavy & sys.modules.keys()))
"""


def test_a_fingerprint_needs_neither_torch_nor_numpy_nor_the_network(
    minilm_in_hub_cache: Path,
) -> None:
    """The standard library alone, for the real model by its name; remembered, too."""
    expected = ask(MINILM).digest
    assert python(ALONE, "all-MiniLM-L6-v2") == expected
    shutil.rmtree(minilm_in_hub_cache)
    assert python(ALONE, "all-MiniLM-L6-v2") == expected
