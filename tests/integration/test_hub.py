"""A model that is not on the machine is fetched by one process; one that is, by none.

huggingface_hub reads its environment on import: everything that asks runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.asking import COMMIT, NAME, WANTED, Asked, about_models, ask, fetched
from support.hub import MockHub
from support.models import add_to_hub_cache

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None,
    reason="fetching needs huggingface_hub, which sentence-transformers brings",
)


def test_a_model_is_fetched_once_and_then_nobody_is_asked(hub: MockHub, hub_cache: Path) -> None:
    """The first process fetches what is read, the second one makes no request at all."""
    first = ask()
    snapshot = hub_cache / "models--org--tiny" / "snapshots" / COMMIT
    assert (first["path"], first["name"], first["commit"]) == (str(snapshot), NAME, COMMIT)
    assert fetched(hub) == WANTED
    on_disk = [p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_file()]
    assert sorted(on_disk) == WANTED
    hub.requests.clear()
    second = ask()
    assert second["path"] == first["path"]
    assert hub.requests == []
    assert [first["built"], second["built"]] == [1, 0]


@pytest.mark.parametrize("count", [2, 4])
def test_processes_that_ask_at_once_fetch_each_file_once(hub: MockHub, count: int) -> None:
    """One fetches and prepares, the others wait and use what it did."""
    asked = [Asked(environment={}) for _ in range(count)]
    answers = [process.answer() for process in asked]
    assert fetched(hub) == WANTED
    assert len({answer["path"] for answer in answers}) == 1
    assert sorted(answer["built"] for answer in answers) == [0] * (count - 1) + [1]
    # Which commit it is was asked before and after fetching, by one process.
    assert sum(request.endswith("/revision/main") for request in about_models(hub)) == 2


def test_every_spelling_of_a_model_is_prepared_once(hub: MockHub) -> None:
    """By branch, by commit and by the snapshot's path: what is there is used, and not again."""
    first = ask()
    hub.requests.clear()
    for name, options in (
        (NAME, {"revision": "main"}),
        (NAME, {"revision": COMMIT}),
        (first["path"], {}),
        (NAME, {"dtype": "float16"}),
    ):
        answer = ask(name, **options)
        assert answer["path"] == first["path"]
        assert answer["built"] == 0
    assert hub.requests == []


def test_a_commit_is_fetched_as_it_is(hub: MockHub) -> None:
    """Without a branch to note; the next process finds it by the same commit."""
    first = ask(revision=COMMIT)
    hub.requests.clear()
    assert ask(revision=COMMIT)["path"] == first["path"]
    assert hub.requests == []


def test_a_model_that_is_on_the_disk_is_used_whatever_the_hub_says(
    hub: MockHub, tiny: Path, hub_cache: Path
) -> None:
    """With a warm cache a Hub that limits, is silent or is dead is not even asked."""
    snapshot = add_to_hub_cache(hub_cache, NAME, tiny)
    hub.status = 429
    assert ask()["path"] == str(snapshot)
    hub.status, hub.silent = None, True
    assert ask()["path"] == str(snapshot)
    assert hub.requests == []


def test_a_fetched_model_can_be_found_by_everyone_else(hub: MockHub, hub_cache: Path) -> None:
    """The branch is noted as huggingface_hub notes it: other programs find it offline."""
    ask()
    assert (hub_cache / "models--org--tiny" / "refs" / "main").read_text() == COMMIT


LOAD = """
import sys
from pytest_embedcache import ModelRegistry, ModelSpec
print(ModelRegistry().get(ModelSpec(sys.argv[1], device="cpu")).encode(["a cat"]).shape)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="the backend 'torch' needs sentence-transformers",
)
def test_a_model_that_is_on_the_disk_is_loaded_without_a_request(
    hub: MockHub, tiny: Path, hub_cache: Path
) -> None:
    """Not only found: sentence-transformers itself, with default arguments, would make several."""
    add_to_hub_cache(hub_cache, NAME, tiny)
    hub.status = 429
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, NAME],
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "(1, 16)"
    assert about_models(hub) == []
