"""Two branches that each record texts merge without a conflict, and the result replays."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from support.recorded import Replayer, entries, record

git_is_here = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


class Repository:
    """A git repository with recordings, no attributes of any kind in force."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recordings = path / "tests" / "embeddings"
        path.mkdir()
        (path / "empty").mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "core.attributesFile", str(path / "empty" / "none"))
        (path / "README").write_text("a suite\n")
        self.commit()

    def git(self, *arguments: str) -> str:
        """Run git; an exit status other than 0 is an error."""
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        ran = subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.path,
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=texts")

    def record(self, *texts: str) -> None:
        """One run that records, and a commit of it."""
        record(self.recordings, self.path.parent / "spool", *texts)
        self.commit()


def merge_of_two_branches(path: Path, seed: int) -> None:
    """Random texts in common, on one branch, on the other, and on both: merged, and replayed."""
    draw = random.Random(seed)

    def texts(most: int) -> list[str]:
        return [f"text {draw.randrange(10**9)}\nof {seed}" for _ in range(draw.randint(0, most))]

    repository = Repository(path)
    old, both = texts(30), texts(5)
    ours, theirs = [*texts(20), *both, "ours"], [*texts(20), *both, "theirs"]
    if old:
        repository.record(*old)
    repository.git("checkout", "--quiet", "-b", "other")
    repository.record(*draw.sample(theirs, len(theirs)))
    repository.git("checkout", "--quiet", "main")
    repository.record(*draw.sample(ours, len(ours)))
    repository.git("merge", "--quiet", "--no-edit", "other")
    assert repository.git("status", "--porcelain") == ""
    everything = list(dict.fromkeys([*old, *ours, *theirs]))
    assert len(entries(repository.recordings)) == len(everything)
    assert Replayer(repository.recordings).model().encode(everything).shape == (len(everything), 8)


@git_is_here
@pytest.mark.parametrize("seed", range(10))
def test_branches_that_add_texts_merge(tmp_path: Path, seed: int) -> None:
    """Plain `git merge`, also where the first recording of all was made on both branches."""
    merge_of_two_branches(tmp_path / "repository", seed)


@git_is_here
@pytest.mark.stress
def test_a_hundred_pairs_of_branches_merge(tmp_path: Path) -> None:
    """The same for a hundred other random pairs."""
    for seed in range(1000, 1100):
        (tmp_path / str(seed)).mkdir()
        merge_of_two_branches(tmp_path / str(seed) / "repository", seed)


@git_is_here
def test_the_same_text_on_two_branches_is_one_change(tmp_path: Path) -> None:
    """Recorded twice on one machine, it is the same file: nothing to merge."""
    repository = Repository(tmp_path / "repository")
    repository.git("checkout", "--quiet", "-b", "other")
    repository.record("a", "b")
    repository.git("checkout", "--quiet", "main")
    repository.record("b")
    repository.record("a")
    assert repository.git("diff", "main", "other") == ""


@git_is_here
def test_a_checkout_with_crlf_replays(tmp_path: Path) -> None:
    """What git does to line ends on another system changes no vector."""
    repository = Repository(tmp_path / "repository")
    repository.record("a", "one\ntwo")
    before = Replayer(repository.recordings).model().encode(["a", "one\ntwo"]).tobytes()
    shutil.rmtree(repository.recordings)
    repository.git("-c", "core.autocrlf=true", "checkout", "--quiet", "--", ".")
    assert all(b"\r\n" in content for content in entries(repository.recordings).values())
    assert Replayer(repository.recordings).model().encode(["a", "one\ntwo"]).tobytes() == before
