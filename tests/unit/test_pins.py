"""One model for all workers: what the first process found holds for the others."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.damage import flip_byte
from support.light import LightBackend
from support.models import COMMIT, add_to_hub_cache, tiny_bert

from pytest_embedcache import ModelRegistry, ModelSpec, notices
from pytest_embedcache.errors import ModelNotFoundError
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.plugin.pins import PinnedBackends, Pins, forget

NAME = "org/light"
OTHER = "d" * 40


class Branch:
    """The model `org/light` in two commits, and where its branches lead."""

    def __init__(self, cache: Path, tmp_path: Path) -> None:
        self.folder = cache / "models--org--light"
        add_to_hub_cache(cache, NAME, tiny_bert(tmp_path / "one", seed=1))
        add_to_hub_cache(cache, NAME, tiny_bert(tmp_path / "two", seed=2), commit=OTHER)
        self.move(COMMIT)

    def move(self, commit: str, branch: str = "main") -> None:
        new = self.folder / f"new-{branch}"
        new.write_text(commit)
        os.replace(new, self.folder / "refs" / branch)


@pytest.fixture
def branch(hub_cache: Path, tmp_path: Path) -> Branch:
    return Branch(hub_cache, tmp_path)


@pytest.fixture
def worker(cache_dir: Path) -> Callable[..., ModelRegistry]:
    """`worker(run)`: the registry of another process of that run."""

    def make(run: str = "run", backend: LightBackend | None = None) -> ModelRegistry:
        table = {"torch": backend or LightBackend()}
        pins = Pins(cache_dir / "v1", run)
        return ModelRegistry(cache_dir=cache_dir, backends=PinnedBackends(table, pins))

    return make


Workers = Callable[..., ModelRegistry]


def commit_of(registry: ModelRegistry, name: str = NAME, **spec: object) -> str | None:
    """The commit that a name leads to there, by all that a registry does."""
    wanted = ModelSpec(name, device="cpu", **spec)  # type: ignore[arg-type]
    fingerprint = registry.identify(wanted).fingerprint
    resolved = registry.resolve(wanted)
    assert registry.identify(resolved).fingerprint == fingerprint
    assert ModelSpec(name, revision=resolved.revision).fingerprint() == fingerprint or spec
    return resolved.revision


def notes(cache_dir: Path) -> list[str]:
    runs = cache_dir / "v1" / "runs"
    return sorted(str(path.relative_to(runs)) for path in runs.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------ one model


@pytest.mark.parametrize("first", ["identify", "resolve"])
def test_a_branch_is_looked_at_once_in_a_run(branch: Branch, worker: Workers, first: str) -> None:
    """Whatever the first process asked for; another run looks for itself."""
    getattr(worker(), first)(ModelSpec(NAME, device="cpu"))
    branch.move(OTHER)
    assert commit_of(worker()) == COMMIT
    assert commit_of(worker(), revision="main") == COMMIT
    assert commit_of(worker(), dtype="float16") == COMMIT
    assert commit_of(worker("another")) == OTHER
    assert notices.counts() == {}


def test_short_and_full_name_are_one_model(hub_cache: Path, tiny: Path, worker: Workers) -> None:
    """The branch may not move between the two either."""
    name = "sentence-transformers/light"
    add_to_hub_cache(hub_cache, name, tiny)
    add_to_hub_cache(hub_cache, name, tiny_bert(tiny.parent / "other", seed=3), commit=OTHER)
    main = hub_cache / "models--sentence-transformers--light" / "refs" / "main"
    main.write_text(COMMIT)
    assert commit_of(worker(), "light") == COMMIT
    main.write_text(OTHER)
    assert commit_of(worker(), name) == COMMIT


def test_another_branch_and_a_commit_are_what_they_say(branch: Branch, worker: Workers) -> None:
    """A note is about one branch; a commit needs none."""
    branch.move(OTHER, "next")
    assert commit_of(worker()) == COMMIT
    assert commit_of(worker(), revision="next") == OTHER
    assert commit_of(worker(), revision=OTHER) == OTHER
    branch.move(COMMIT, "next")
    assert commit_of(worker(), revision="next") == OTHER
    assert commit_of(worker()) == COMMIT


def test_a_branch_that_moves_while_it_is_looked_at_is_one_of_the_two(
    branch: Branch, worker: Workers
) -> None:
    """The note never names one commit with the other's content."""

    class Moving(LightBackend):
        def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
            found = super().identify(spec, artifacts)
            branch.move(OTHER)
            return found

    assert commit_of(worker(backend=Moving())) == COMMIT
    assert commit_of(worker()) == COMMIT


def test_of_processes_that_ask_at_once_all_get_one_answer(branch: Branch, worker: Workers) -> None:
    """16 workers, while the branch moves to and fro."""
    barrier, found, over = threading.Barrier(16), [], threading.Event()

    def ask() -> None:
        registry = worker()
        barrier.wait()
        found.append(commit_of(registry))

    def move() -> None:
        while not over.is_set():
            branch.move(OTHER)
            branch.move(COMMIT)

    mover = threading.Thread(target=move)
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in (mover, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    mover.join()
    assert len(found) == 16
    assert len(set(found)) == 1


def test_what_is_remembered_of_a_branch_is_not_lost(
    branch: Branch, worker: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a day without the files, a name still says which model it was."""
    fingerprint = worker().identify(ModelSpec(NAME)).fingerprint
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    assert worker("tomorrow").identify(ModelSpec(NAME)).fingerprint == fingerprint


# ------------------------------------------------------------------------------ directories


def test_a_directory_that_changes_during_a_run_is_said(tiny: Path, worker: Workers) -> None:
    """Nothing can bring the old files back: each worker has what is there, and one line says so."""
    spec = ModelSpec(str(tiny), device="cpu")
    before = worker().identify(spec).fingerprint
    assert worker().identify(spec).fingerprint == before
    assert notices.counts() == {}
    flip_byte(tiny / "model.safetensors")
    assert worker().identify(spec).fingerprint != before
    (message,) = notices.counts()
    assert str(tiny) in message
    assert "changed during the run" in message


# ------------------------------------------------------------------------------ bad days


def test_a_model_that_there_is_not_is_the_usual_error(worker: Workers, tmp_path: Path) -> None:
    """A name, and a directory; no note is left that would say something else later."""
    for name in ("org/nobody", str(tmp_path / "nowhere")):
        with pytest.raises(ModelNotFoundError, match=name.rpartition("/")[2]):
            worker().identify(ModelSpec(name))


@pytest.mark.parametrize("content", ["", "garbage", "{}", "null", "7", '"main"', "[" * 5000])
def test_a_damaged_note_is_none(
    branch: Branch, worker: Workers, cache_dir: Path, content: str
) -> None:
    """Each process then finds out for itself."""
    assert commit_of(worker()) == COMMIT
    for file in (cache_dir / "v1" / "runs").rglob("*.json"):
        file.write_text(content)
    branch.move(OTHER)
    assert commit_of(worker()) == OTHER


def test_where_notes_cannot_be_kept_each_process_finds_out_for_itself(
    branch: Branch, worker: Workers, cache_dir: Path
) -> None:
    """A file stands in their place."""
    (cache_dir / "v1").mkdir(parents=True)
    (cache_dir / "v1" / "runs").write_text("")
    assert commit_of(worker()) == COMMIT
    branch.move(OTHER)
    assert commit_of(worker()) == OTHER


def test_a_file_system_without_links_serves_too(
    branch: Branch, worker: Workers, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notes appear there as well, whole, and nothing beside them."""

    def no_links(*names: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert commit_of(worker()) == COMMIT
    branch.move(OTHER)
    assert commit_of(worker()) == COMMIT
    assert all(note.endswith(".json") for note in notes(cache_dir))


# ------------------------------------------------------------------------------ afterwards


def test_the_notes_of_a_run_are_forgotten_and_no_others(
    branch: Branch, worker: Workers, cache_dir: Path
) -> None:
    """But for those of a run whose controller was killed long ago."""
    for run in ("one", "two", "old"):
        commit_of(worker(run))
    directories = sorted((cache_dir / "v1" / "runs").iterdir(), key=os.path.getmtime)
    assert len(directories) == 3
    assert len(notes(cache_dir)) == 6
    os.utime(directories[-1], (1e9, 1e9))
    forget(cache_dir / "v1", "one")
    assert {name.split("/")[0] for name in notes(cache_dir)} == {directories[1].name}
    branch.move(OTHER)
    assert commit_of(worker("two")) == COMMIT
    assert commit_of(worker("one")) == OTHER
    forget(cache_dir / "v1", "two")
    forget(cache_dir / "v1", "one")
    assert notes(cache_dir) == []
    forget(cache_dir / "v1", "never was")


def test_forgetting_where_there_is_nothing_makes_nothing(cache_dir: Path) -> None:
    """No directory for a run without models."""
    forget(cache_dir / "v1", "run")
    assert not cache_dir.exists()


def test_the_table_is_the_one_behind_it(tiny: Path) -> None:
    """A row that is added or replaced later is seen; an unknown one is unknown."""
    table = {"torch": LightBackend()}
    pinned = PinnedBackends(table, Pins(tiny, "run"))
    table["onnx"] = LightBackend()
    assert list(pinned) == ["torch", "onnx"]
    assert len(pinned) == 2
    with pytest.raises(KeyError):
        pinned["remote"]
