"""A million texts: the fakes tell them apart."""

from __future__ import annotations

import pytest

from pytest_embedcache.testing.fake_vectors import fake_vectors


@pytest.mark.stress
@pytest.mark.parametrize(("kind", "size"), [("hash", 11), ("hash", 384), ("lexical", 384)])
def test_no_two_of_a_million_texts_are_alike(kind: str, size: int) -> None:
    """Counted, beside the argument from the digest's 256 bits: by a hash of each row."""
    seen = set()
    for first in range(0, 1_000_000, 10_000):
        texts = [f"text {number}" for number in range(first, first + 10_000)]
        seen.update(hash(row.tobytes()) for row in fake_vectors(kind, texts, size))
    # Python's own hash has 64 bits: of a million rows two agree with a probability of 3e-8.
    assert len(seen) == 1_000_000
