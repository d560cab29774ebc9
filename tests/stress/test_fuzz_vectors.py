"""Never a wrong vector: random use against a pure function, byte by byte.

`EMBEDCACHE_FUZZ_SEED` repeats a run, as far as threads can be repeated; the seed is printed with
what was counted. Under CI it is 0.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.fuzz import fuzz

#: Read here, since tests do not see the environment of whoever runs them.
SEED = int(
    os.environ.get("EMBEDCACHE_FUZZ_SEED")
    or (0 if "CI" in os.environ else random.SystemRandom().randrange(2**32))
)


def check_that_it_was_a_mix(sums: Counter[str]) -> None:
    """Assert that the ways a vector can take were taken, and that every one is accounted for."""
    for name in ("memory", "sqlite", "computed", "shared", "errors"):
        assert sums[name] > 0, (name, sums)
    found = sums["memory"] + sums["sqlite"]
    assert sums["asked"] == found + sums["computed"] + sums["shared"] + sums["untrusted"]


def test_random_use_never_gives_a_wrong_vector(tmp_path: Path) -> None:
    """20,000 vectors of mixed hits, misses, duplicates, roles, prompts, models, dimensions, threads
    and processes, over stores that fail at random, are the pure function's."""
    print(f"EMBEDCACHE_FUZZ_SEED={SEED}")
    sums = fuzz(tmp_path, SEED, 20_000)
    print(dict(sums))
    assert sums["compared"] >= 20_000
    check_that_it_was_a_mix(sums)


@pytest.mark.stress
def test_a_million_vectors_of_random_use_have_none_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for 1,000,000 vectors, in campaigns of 50,000, each over a store of its own."""
    start = time.perf_counter()
    total: Counter[str] = Counter()
    for number in range(20):
        seed = SEED + number
        with capsys.disabled():
            print(f"EMBEDCACHE_FUZZ_SEED={seed}", file=sys.stderr)
        total += fuzz(tmp_path / str(number), seed, 50_000)
    with capsys.disabled():
        print(f"{dict(total)} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    assert total["compared"] >= 1_000_000
    assert total["untrusted"] > 0
    check_that_it_was_a_mix(total)
