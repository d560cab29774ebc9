"""What a Hub that refuses, is silent or is dead leaves: one clear error, and nothing broken.

huggingface_hub reads its environment on import: everything that asks runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from support.asking import NAME, WANTED, about_models, ask, fetched
from support.hub import MockHub

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None,
    reason="fetching needs huggingface_hub, which sentence-transformers brings",
)


def refuse(status: int) -> Any:
    return lambda hub: setattr(hub, "status", status)


def fall_silent(hub: MockHub) -> None:
    hub.silent = True


BAD_DAYS: dict[str, tuple[Any, str, str, str]] = {
    "429": (refuse(429), "FetchError", "limits the rate of requests (status 429)", "HF_TOKEN"),
    "500": (refuse(500), "FetchError", "the Hub answered with status 500", "Copy the model into"),
    "404": (
        refuse(404),
        "ModelNotFoundError",
        "knows no such model (status 404)",
        "Check the name",
    ),
    "401": (refuse(401), "ModelNotFoundError", "knows no such model (status 401)", "hf auth login"),
    "silent": (fall_silent, "FetchError", "the Hub cannot be reached (", "Copy the model into"),
}


@pytest.mark.parametrize("day", BAD_DAYS)
def test_a_bad_day_of_the_hub_is_one_clear_error(hub: MockHub, hub_cache: Path, day: str) -> None:
    """It names the model, the reason and the remedy after one request, and breaks nothing."""
    spoil, kind, reason, remedy = BAD_DAYS[day]
    spoil(hub)
    # Whom a Hub does not answer at all must not wait for long here; whom it answers may.
    answer = ask(environment={"ANSWER_TIMEOUT": "0.2"} if hub.silent else {})
    assert answer["error"] == kind
    assert f"model {NAME!r}" in answer["message"]
    assert reason in answer["message"]
    assert remedy in answer["message"]
    assert answer["status"] == (int(day) if kind == "FetchError" and day.isdigit() else None)
    assert len(about_models(hub)) == 1
    assert [*hub_cache.glob("models--*/snapshots/*")] == []
    hub.status, hub.silent = None, False
    assert ask()["path"].startswith(str(hub_cache))


def test_a_dead_hub_is_one_clear_error(hub: MockHub, hub_cache: Path) -> None:
    """Nobody listens: known at once, without a minute of attempts."""
    url = hub.url
    hub.close()
    answer = ask(environment={"HF_ENDPOINT": url})
    assert answer["error"] == "FetchError"
    assert "the Hub cannot be reached (" in answer["message"]
    assert "a model that is on this machine is loaded without the network" in answer["message"]


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nobody_is_asked(hub: MockHub, variable: str) -> None:
    """The error names the variable that forbids it."""
    answer = ask(environment={variable: "1"})
    assert answer["error"] == "ModelNotFoundError"
    assert f"{variable} forbids to fetch it" in answer["message"]
    assert f"Unset {variable} for one run" in answer["message"]
    assert hub.requests == []
    assert "path" in ask()


def test_an_unknown_model_or_revision_is_an_error_with_its_name(hub: MockHub) -> None:
    """Of a model that exists the missing revision is named."""
    unknown = ask("org/none")
    assert unknown["error"] == "ModelNotFoundError"
    assert "'org/none'" in unknown["message"]
    answer = ask(revision="v9")
    assert answer["error"] == "ModelNotFoundError"
    assert "it has no revision 'v9'" in answer["message"]


def test_a_name_that_the_hub_could_not_have_is_said_to_be_none(hub: MockHub) -> None:
    """And not that the Hub cannot be reached: it was not asked."""
    answer = ask("no such/model at all")
    assert answer["error"] == "ModelNotFoundError"
    assert "no name that the Hub could have" in answer["message"]
    assert hub.requests == []


def test_no_token_is_in_an_error(hub: MockHub) -> None:
    """It is sent to the Hub, and shown to nobody."""
    hub.status = 401
    answer = ask(token="hf_secret")
    assert "hf_secret" not in json.dumps(answer)


def test_a_hub_cache_that_cannot_be_written_says_so(hub: MockHub, tmp_path: Path) -> None:
    """The remedy is about the directory, and not about the network."""
    (tmp_path / "file").write_bytes(b"")
    answer = ask(cache_folder=str(tmp_path / "file" / "hub"))
    assert answer["error"] == "FetchError"
    assert f"Make room in, or access to, {tmp_path / 'file' / 'hub'}" in answer["message"]


def test_without_a_cache_directory_of_ours_a_model_is_fetched_all_the_same(
    hub: MockHub, tmp_path: Path
) -> None:
    """Nobody is kept away then; it is said, and the model is there."""
    (tmp_path / "file").write_bytes(b"")
    answer = ask(environment={"EMBEDCACHE_DIR": str(tmp_path / "file" / "cache")})
    assert Path(answer["path"], "model.safetensors").exists()
    assert answer["log"].count("cannot be used") == 1
    assert fetched(hub) == WANTED
