"""Many processes ask for one artifact at once, and are killed at random moments.

Never do two prepare at a time, nothing half-written is ever used, and in the end one preparation is
published. A few rounds run by default; `-m stress` runs the long campaign.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_embedcache.models.artifacts import ArtifactStore, Built

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only POSIX kills like this")

HERD = Path(__file__).parents[1] / "support" / "herd.py"
PROCESSES = 32
CONTENT = [bytes([part]) * 64 * 1024 for part in range(8)]


def play(tmp_path: Path, *, kills: int, seed: int) -> Any:
    """All processes at once, of which some are killed; what they saw."""
    cache, log = tmp_path / f"cache-{seed}", tmp_path / "log"
    ran = subprocess.run(
        [sys.executable, str(HERD), *map(str, (cache, log, PROCESSES, kills, seed))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["failed"] == [], ran.stderr
    assert "two at a time" not in found["log"]
    assert "half-written" not in found["log"]
    found["prepared"] = sum(line.startswith("begun") for line in found["log"])
    found["done"] = sorted(line for line in found["log"] if line.startswith("done"))
    return found


def again(directory: Path) -> Built:
    (directory / "again").write_bytes(b"again")
    return Built(["again"])


def check_what_is_left(cache: Path) -> None:
    """One sound artifact is published; the next preparation sweeps what the killed left."""
    store = ArtifactStore(cache)
    artifact = store.get("export", "model")
    assert artifact is not None
    assert [Path(artifact.root, name).read_bytes() for name in artifact.files] == CONTENT
    assert store.corrupt == 0
    other = store.ensure("export", "model", again, what="it", valid=lambda a: a.files == ("again",))
    home = Path(artifact.root).parent
    kept = {Path(artifact.root).name, Path(other.root).name, "manifest.json"}
    assert {entry.name for entry in home.iterdir()} == kept


def campaign(tmp_path: Path, *, rounds: int, kills: int) -> None:
    seed = int(os.environ.get("EMBEDCACHE_STRESS_SEED") or random.SystemRandom().getrandbits(32))
    print(f"repeat with EMBEDCACHE_STRESS_SEED={seed}")
    killed = interrupted = 0
    for number in range(rounds):
        found = play(tmp_path, kills=kills, seed=seed + number)
        # Of those who lived all have it, and one at most has made it: it was the last.
        assert len(found["done"]) >= PROCESSES - found["killed"]
        assert found["done"].count("done 1") <= 1
        check_what_is_left(tmp_path / f"cache-{seed + number}")
        killed += found["killed"]
        interrupted += found["prepared"] - 1
    print(f"{rounds} rounds, {killed} killed, of them {interrupted} while preparing")
    assert interrupted > 0, "no preparation was interrupted: nothing was shown"


def test_all_at_once_prepare_once(tmp_path: Path) -> None:
    """32 processes, none of them killed: one prepares, 31 use what it made."""
    found = play(tmp_path, kills=0, seed=0)
    assert found["done"] == ["done 0"] * (PROCESSES - 1) + ["done 1"]
    assert found["prepared"] == 1
    check_what_is_left(tmp_path / "cache-0")


def test_kills_at_random_moments_break_nothing(tmp_path: Path) -> None:
    """A few rounds; the seed is in the output."""
    campaign(tmp_path, rounds=4, kills=16)


@pytest.mark.stress
def test_many_kills_at_random_moments_break_nothing(tmp_path: Path) -> None:
    """The long campaign."""
    campaign(tmp_path, rounds=200, kills=28)
