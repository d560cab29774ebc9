"""A snapshot that is partial or damaged is put right, or named.

huggingface_hub reads its environment on import: everything that asks runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from support.asking import COMMIT, NAME, WANTED, Asked, about_models, ask, fetched
from support.damage import flip_byte
from support.hub import MockHub
from support.models import add_to_hub_cache

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None,
    reason="fetching needs huggingface_hub, which sentence-transformers brings",
)


@pytest.mark.parametrize("missing", ["model.safetensors", "1_Pooling/config.json", "vocab.txt"])
def test_a_partial_snapshot_is_completed(
    hub: MockHub, whole: Path, hub_cache: Path, missing: str
) -> None:
    """What is missing is fetched, what is there is not fetched again."""
    snapshot = add_to_hub_cache(hub_cache, NAME, whole, commit=COMMIT, blobs=True)
    (snapshot / missing).resolve().unlink()
    (snapshot / missing).unlink()
    (snapshot / "tokenizer_config.json").unlink()  # its blob is still there, and is linked again
    answer = ask()
    assert answer["path"] == str(snapshot)
    assert (snapshot / missing).read_bytes() == (whole / missing).read_bytes()
    assert fetched(hub) == [missing]
    assert "is fetched again" in answer["log"]


def test_a_file_that_a_model_may_be_without_is_missed_once_it_was_there(hub: MockHub) -> None:
    """Without the limit of its length the same name would mean other vectors."""
    snapshot = Path(ask()["path"])
    limit = snapshot / "sentence_bert_config.json"
    hub.requests.clear()
    limit.resolve().unlink()
    limit.unlink()
    assert ask()["path"] == str(snapshot)
    assert fetched(hub) == [limit.name]
    limit.unlink()
    answer = ask(environment={"HF_HUB_OFFLINE": "1"})
    assert answer["error"] == "SnapshotError"
    assert "sentence_bert_config.json is missing" in answer["message"]


def test_what_makes_a_model_whole_is_fetched_last(hub: MockHub) -> None:
    """A fetch that is killed leaves no model that looks whole, wherever it ended."""
    ask()
    order = [path.partition("/resolve/")[2].partition("/")[2] for path in hub.downloads()]
    assert order[-2:] == ["modules.json", "config.json"]
    # And the branch is noted after all of them: until then the name leads nowhere.
    noted = [r for r in about_models(hub) if r.endswith("/revision/main")]
    assert about_models(hub)[-1] == noted[-1]


def cut_off(snapshot: Path) -> None:
    weights = (snapshot / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-100])


def flip_a_bit(snapshot: Path) -> None:
    flip_byte((snapshot / "model.safetensors").resolve())


def flip_a_bit_of_a_small_file(snapshot: Path) -> None:
    flip_byte((snapshot / "vocab.txt").resolve())


def cut_off_the_list_of_modules(snapshot: Path) -> None:
    (snapshot / "modules.json").resolve().write_text("[")


@pytest.mark.parametrize("at", ["vocab.txt", "model.safetensors", "modules.json", "config.json"])
def test_a_killed_fetch_leaves_nothing_that_is_taken_for_the_model(
    hub: MockHub, whole: Path, at: str
) -> None:
    """Offline there is an error and no half of it; with a healthy Hub the rest is fetched."""
    hub.stalls_at = at
    asked = Asked(environment={})
    assert hub.stalled.wait(60)
    asked.kill()
    hub.stalls_at = None
    for revision in (None, COMMIT):
        answer = ask(environment={"HF_HUB_OFFLINE": "1"}, revision=revision)
        assert answer["error"] in ("ModelNotFoundError", "SnapshotError")
    snapshot = Path(ask()["path"])
    for name in WANTED:
        assert (snapshot / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize(
    ("damage", "prepared"),
    [
        (cut_off, False),
        (flip_a_bit, True),
        (flip_a_bit_of_a_small_file, False),
        (cut_off_the_list_of_modules, True),
    ],
)
def test_a_damaged_snapshot_is_fetched_again(
    hub: MockHub, whole: Path, hub_cache: Path, damage: Any, prepared: bool
) -> None:
    """The blob's name says what it should hold; what it holds is put right."""
    snapshot = add_to_hub_cache(hub_cache, NAME, whole, commit=COMMIT, blobs=True)
    if prepared:
        assert ask()["built"] == 1
        assert hub.requests == []
    damage(snapshot)
    answer = ask()
    assert answer["path"] == str(snapshot)
    for name in WANTED:
        assert (snapshot / name).read_bytes() == (whole / name).read_bytes(), name
    assert "is fetched again" in answer["log"]
    hub.requests.clear()
    assert ask()["built"] == 0
    assert hub.requests == []


@pytest.mark.parametrize("dead", ["offline", "refusing"])
def test_a_damaged_snapshot_that_cannot_be_fetched_again_says_both(
    hub: MockHub, whole: Path, hub_cache: Path, dead: str
) -> None:
    """What is wrong with it, and why it stays so; with a healthy Hub it works."""
    snapshot = add_to_hub_cache(hub_cache, NAME, whole, commit=COMMIT, blobs=True)
    flip_a_bit(snapshot)
    hub.status = 500
    answer = ask(environment={"HF_HUB_OFFLINE": "1"} if dead == "offline" else {})
    assert answer["error"] == "SnapshotError"
    assert "model.safetensors does not have the content that the Hub published" in answer["message"]
    reason = "HF_HUB_OFFLINE forbids" if dead == "offline" else "answered with status 500"
    assert reason in answer["message"]
    assert NAME in answer["message"]
    hub.status = None
    assert ask()["path"] == str(snapshot)


def test_a_model_that_the_hub_itself_has_in_pieces_is_an_error(hub: MockHub, tiny: Path) -> None:
    """It is fetched, and not again and again."""
    (tiny / "model.safetensors").unlink()
    (tiny / "pytorch_model.bin").unlink()
    answer = ask()
    assert answer["error"] == "SnapshotError"
    assert "model.safetensors is missing" in answer["message"]
    assert "give another revision or another model" in answer["message"]
    assert len(fetched(hub)) == len(set(fetched(hub)))
