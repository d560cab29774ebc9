"""A model is identified once, and again whenever its files may have changed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.models import COMMIT, add_to_hub_cache

from pytest_embedcache import ModelSpec
from pytest_embedcache.errors import SnapshotError
from pytest_embedcache.fingerprint import Fingerprint, model_files
from pytest_embedcache.models import identity
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.identity import Identity, identify_snapshot
from pytest_embedcache.weights import HashMemo


class Looks:
    """Identifies as processes do that come one after the other; counts who read the files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = 0
        real = identity.fingerprint_of

        def counted(*arguments: Any, **options: Any) -> Fingerprint:
            self.read += 1
            return real(*arguments, **options)

        monkeypatch.setattr(identity, "fingerprint_of", counted)

    def __call__(self, name: str | Path, *, later: float = 10.0, **options: Any) -> Identity:
        artifacts = ArtifactStore()
        artifacts.memo = HashMemo(artifacts.directory, clock=lambda: time.time() + later)
        return identify_snapshot(ModelSpec(str(name), **options), artifacts)


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def notes() -> list[Path]:
    return sorted((ArtifactStore().directory / "identities").glob("*.json"))


def test_files_that_are_known_are_not_read_again(look: Looks, tiny: Path) -> None:
    """A second process finds the same identity, to the last fact, and reads none of them."""
    first = look(tiny)
    second = look(tiny)
    assert look.read == 1
    assert second == first
    assert second.metadata.as_dict() == first.metadata.as_dict()
    assert (second.name, second.commit, second.signature) == (
        first.name,
        first.commit,
        first.signature,
    )


def test_every_file_that_decides_a_vector_is_looked_at(look: Looks, tiny: Path) -> None:
    """Rewritten with the same bytes, it is read again; and so is one that is new, or gone."""
    look(tiny)
    reads = 1
    names = model_files(str(tiny))
    assert len(names) > 5
    for name in names:
        os.utime(tiny / name, ns=(1, reads))
        look(tiny)
        reads += 1
        assert look.read == reads, name
    # A template may ask for the role, and so decides whether queries and documents are one.
    for name in ("special_tokens_map.json", "chat_template.jinja", "additional_chat_templates/t"):
        added = tiny / name
        added.parent.mkdir(exist_ok=True)
        added.write_text("{}", encoding="utf-8")
        look(tiny)
        added.unlink()
        look(tiny)
        reads += 2
        assert look.read == reads, name


def test_other_weights_are_another_model_at_once(look: Looks, tiny: Path) -> None:
    """Nor is a prompt that was added overlooked."""
    before = look(tiny)
    content = bytearray((tiny / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tiny / "model.safetensors").write_bytes(content)
    after = look(tiny)
    assert after.fingerprint != before.fingerprint
    file = tiny / "config_sentence_transformers.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(config | {"prompts": {"query": "q: "}}), encoding="utf-8")
    assert look(tiny).metadata.prompts["query"] == "q: "
    assert look.read == 3


def test_files_that_may_still_change_unseen_are_read_again(look: Looks, tiny: Path) -> None:
    """A time stamp may be that of two writes: nothing is noted before the files have settled."""
    look(tiny, later=0.0)
    look(tiny, later=0.0)
    assert (look.read, notes()) == (2, [])


def test_what_lies_elsewhere_is_looked_at_every_time(look: Looks, tiny: Path) -> None:
    """Code of another repository is not among the files of the model."""
    for _ in range(2):
        look(tiny, trust_remote_code=True)
    assert (look.read, notes()) == (2, [])


def test_each_dtype_and_place_is_noted_for_itself(
    look: Looks, tiny: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the installed transformers loads where nobody says so."""
    snapshot = add_to_hub_cache(hub_cache, "sentence-transformers/tiny", tiny, blobs=True)
    asked = [(tiny, {}), (tiny, {"dtype": "float16"}), ("tiny", {}), (snapshot, {})]
    found = [look(name, **options) for name, options in asked]
    assert look.read == len(notes()) == 3  # a name and its snapshot are one place
    assert [one.commit for one in found] == [None, None, COMMIT, COMMIT]
    assert found[1].fingerprint != found[0].fingerprint
    assert [look(name, **options) for name, options in asked] == found
    assert look.read == 3
    monkeypatch.setattr(identity, "keeps_dtype", lambda: False)
    look(tiny)
    assert look.read == 4


def test_each_form_of_a_prepared_model_is_noted_for_itself(look: Looks, tiny: Path) -> None:
    """The exact one is the model, a small one another."""
    asked = [{"backend": "onnx", "form": form} for form in ("float32", "int8")]
    exact, small = (look(tiny, **options) for options in asked)
    assert exact == look(tiny, dtype="float32")
    assert small.fingerprint != exact.fingerprint
    reads = look.read
    assert [look(tiny, **options) for options in asked] == [exact, small]
    assert look.read == reads


def test_a_graph_that_the_model_brings_is_looked_at_every_time(look: Looks, tiny: Path) -> None:
    """It is not among the files that decide what torch computes."""
    (tiny / "onnx").mkdir()
    graph = tiny / "onnx" / "model.onnx"
    graph.write_bytes(b"one")
    before = look(tiny, backend="onnx", form="shipped")
    graph.write_bytes(b"two")
    assert look(tiny, backend="onnx", form="shipped").fingerprint != before.fingerprint
    assert notes() == []


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"signature": 1}', "null", "half {"], ids=repr
)
def test_a_note_that_cannot_be_read_is_written_again(look: Looks, tiny: Path, content: str) -> None:
    """No content of the file is an error, or a model."""
    first = look(tiny)
    (note,) = notes()
    note.write_text(content, encoding="utf-8")
    assert look(tiny) == first
    assert look(tiny) == first
    assert look.read == 2


@pytest.mark.parametrize("facts", [{"fingerprint": "ab"}, {"dtype": None}, {"metadata": 3}])
def test_a_note_with_a_fact_that_is_none_is_not_believed(
    look: Looks, tiny: Path, facts: dict[str, Any]
) -> None:
    """Although the signature is that of the files."""
    first = look(tiny)
    (note,) = notes()
    note.write_text(json.dumps(json.loads(note.read_text()) | facts), encoding="utf-8")
    assert look(tiny) == first
    assert look.read == 2


def test_a_model_that_was_damaged_since_is_an_error(look: Looks, tiny: Path) -> None:
    """What was noted when it was whole does not hide it."""
    look(tiny)
    os.truncate(tiny / "model.safetensors", 100)
    with pytest.raises(SnapshotError):
        look(tiny)
