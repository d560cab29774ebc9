"""Tiers: the contract, promotion, who wins, and tiers that fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_embedcache import notices
from pytest_embedcache.errors import StoreError, StorePausedError, VectorError
from pytest_embedcache.testing.contracts import (
    MODEL,
    VectorStoreContract,
    equal,
    items_of,
    key_of,
    vector_of,
)
from pytest_embedcache.vectors import memory as memory_module
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.sqlite import SqliteStore
from pytest_embedcache.vectors.store import StoreStats, VectorStore
from pytest_embedcache.vectors.tiered import TieredStore


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Tier(MemoryStore):
    """A memory store with a name, that counts its calls, and raises `broken` where that is set."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.broken: BaseException | None = None
        self.broken_for: tuple[str, ...] = ()
        self.calls: list[str] = []
        self.closed = False

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.broken is not None and (not self.broken_for or call in self.broken_for):
            raise self.broken

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        self._called("get")
        return super().get_many(fingerprint, keys)

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        self._called("put")
        return super().put_many(fingerprint, items)

    def promote_many(
        self, fingerprint: str, vectors: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        self._called("promote")
        return super().promote_many(fingerprint, vectors)

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        self._called("delete")
        return super().delete_many(fingerprint, keys)

    def clear(self, fingerprint: str | None = None) -> int:
        self._called("clear")
        return super().clear(fingerprint)

    def stats(self) -> StoreStats:
        self._called("stats")
        return super().stats()

    def close(self) -> None:
        self.closed = True
        self._called("close")


class Tiers:
    """Three tiers and their store, with a clock that stands still."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.top, self.middle, self.bottom = Tier("top"), Tier("middle"), Tier("bottom")
        self.all = (self.top, self.middle, self.bottom)
        self.store = TieredStore(self.all, clock=self.clock)

    def holders(self, name: object) -> list[str]:
        """The names of the tiers that hold a vector."""
        return [t.name for t in self.all if MemoryStore.get_many(t, MODEL, [key_of(name)])]


@pytest.fixture
def tiers() -> Tiers:
    notices.reset()
    return Tiers()


def memory_and_sqlite(path: Path) -> list[VectorStore]:
    return [MemoryStore(), SqliteStore(path)]


def a_single_memory(path: Path) -> list[VectorStore]:
    return [MemoryStore()]


def a_tiny_memory_over_sqlite(path: Path) -> list[VectorStore]:
    return [MemoryStore(max_entries=2), SqliteStore(path)]


class TestTieredStore(VectorStoreContract):
    @pytest.fixture(params=[memory_and_sqlite, a_single_memory, a_tiny_memory_over_sqlite])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TieredStore]:
        store = TieredStore(request.param(tmp_path))
        yield store
        store.close()

    def test_stats_count_what_happened(self, store: TieredStore) -> None:  # type: ignore[override]
        """The counts are this object's, also where a tier had to evict."""
        store.put_many(MODEL, items_of(*range(10)))
        store.get_many(MODEL, [key_of(n) for n in range(15)])
        stats = store.stats()
        assert (stats.entries, stats.hits, stats.misses) == (10, 10, 5)
        assert (stats.corrupt, stats.errors) == (0, 0)


# ------------------------------------------------------------------------------ reading


def test_tiers_are_asked_in_order_for_what_is_missing_still(tiers: Tiers) -> None:
    """A tier is asked only for what those above it have not; the counts say who had how many."""
    MemoryStore.put_many(tiers.top, MODEL, items_of("a"))
    MemoryStore.put_many(tiers.middle, MODEL, items_of("b", "c"))
    MemoryStore.put_many(tiers.bottom, MODEL, items_of("d"))
    keys = [key_of(name) for name in "abcde"]
    found, by_tier = tiers.store.get_with_tiers(MODEL, keys)
    assert equal(found, items_of("a", "b", "c", "d"))
    assert by_tier == {"top": 1, "middle": 2, "bottom": 1}
    counted = [(t.name, t.hits, t.misses) for t in tiers.store.tier_stats()]
    assert counted == [("top", 1, 4), ("middle", 2, 2), ("bottom", 1, 1)]


def test_a_tier_below_is_not_asked_when_all_is_found(tiers: Tiers) -> None:
    """A hit at the top costs the lower tiers nothing, also with a key given twice."""
    tiers.store.put_many(MODEL, items_of("a"))
    for tier in tiers.all:
        tier.calls.clear()
    tiers.store.get_many(MODEL, [key_of("a"), key_of("a")])
    assert [tier.calls for tier in tiers.all] == [["get"], [], []]


def test_a_find_is_promoted(tiers: Tiers) -> None:
    """What a lower tier has is put into all above it, and found at the top the next time."""
    MemoryStore.put_many(tiers.bottom, MODEL, items_of("a"))
    tiers.store.get_many(MODEL, [key_of("a")])
    assert tiers.holders("a") == ["top", "middle", "bottom"]
    assert [tier.promoted for tier in tiers.store.tier_stats()] == [1, 1, 0]
    _, by_tier = tiers.store.get_with_tiers(MODEL, [key_of("a")])
    assert by_tier == {"top": 1}


def test_a_tier_that_takes_nothing_costs_only_the_promotion(tiers: Tiers) -> None:
    """What was found is found, and the other tiers get it."""
    MemoryStore.put_many(tiers.bottom, MODEL, items_of("a"))
    tiers.top.broken, tiers.top.broken_for = OSError(28, "full"), ("promote",)
    assert equal(tiers.store.get_many(MODEL, [key_of("a")]), items_of("a"))
    assert tiers.holders("a") == ["middle", "bottom"]
    stats = tiers.store.tier_stats()
    assert [(tier.promoted, tier.errors) for tier in stats] == [(0, 1), (1, 0), (0, 0)]


def test_what_is_promoted_into_memory_is_not_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was when it was put into the tier below."""
    memory, lower = MemoryStore(), Tier("lower")
    MemoryStore.put_many(lower, MODEL, items_of("a"))
    looked: list[object] = []
    monkeypatch.setattr(memory_module, "check_vectors", looked.append)
    store = TieredStore([memory, lower])
    assert equal(store.get_many(MODEL, [key_of("a")]), items_of("a"))
    assert [tier.promoted for tier in store.tier_stats()] == [1, 0]
    assert equal(memory.get_many(MODEL, [key_of("a")]), items_of("a"))
    assert looked == []


def test_two_tiers_of_one_name_are_counted_together() -> None:
    """Counts by name add up; nothing is lost in a dict."""
    upper, lower = Tier("same"), Tier("same")
    MemoryStore.put_many(upper, MODEL, items_of("a"))
    MemoryStore.put_many(lower, MODEL, items_of("b"))
    store = TieredStore([upper, lower])
    assert store.get_with_tiers(MODEL, [key_of("a"), key_of("b")])[1] == {"same": 2}
    assert len(store.stats().details) == 2


# ------------------------------------------------------------------------------ who wins


def test_a_write_goes_to_all_tiers(tiers: Tiers) -> None:
    """What is put is in every tier."""
    tiers.store.put_many(MODEL, items_of("a"))
    assert tiers.holders("a") == ["top", "middle", "bottom"]


@pytest.mark.parametrize("holder", [0, 1, 2])
def test_a_stored_vector_wins_and_is_in_the_tiers_above(tiers: Tiers, holder: int) -> None:
    """Whichever tier holds another vector for the key already, that one is handed out."""
    MemoryStore.put_many(tiers.all[holder], MODEL, items_of("a"))
    mine = {key_of("a"): vector_of("mine")}
    final = {**mine, **tiers.store.put_many(MODEL, mine)}
    if holder == 2:
        assert equal(final, items_of("a"))
    for tier in tiers.all:
        assert equal(MemoryStore.get_many(tier, MODEL, [key_of("a")]), final)


def test_of_two_stored_vectors_the_lower_wins(tiers: Tiers) -> None:
    """The tier that more processes share is right, and those above are corrected."""
    MemoryStore.put_many(tiers.top, MODEL, {key_of("a"): vector_of("upper")})
    MemoryStore.put_many(tiers.bottom, MODEL, items_of("a"))
    assert equal(tiers.store.put_many(MODEL, {key_of("a"): vector_of("mine")}), items_of("a"))
    for tier in tiers.all:
        assert equal(MemoryStore.get_many(tier, MODEL, [key_of("a")]), items_of("a"))


def test_a_promotion_corrects_what_is_above(tiers: Tiers) -> None:
    """A tier that was asked while another wrote to it ends with the lower tier's vector."""
    MemoryStore.put_many(tiers.bottom, MODEL, items_of("a"))
    asked = tiers.middle.get_many

    def racing(fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found = asked(fingerprint, keys)
        MemoryStore.put_many(tiers.top, MODEL, {key_of("a"): vector_of("raced")})
        return found

    tiers.middle.get_many = racing  # type: ignore[method-assign]
    assert equal(tiers.store.get_many(MODEL, [key_of("a")]), items_of("a"))
    assert equal(MemoryStore.get_many(tiers.top, MODEL, [key_of("a")]), items_of("a"))


# ------------------------------------------------------------------------------ failing tiers

FAILURES: list[Callable[[], Exception]] = [
    lambda: StoreError("sqlite", "/there", "database is locked", "Wait."),
    lambda: OSError(28, "No space left on device"),
    lambda: RuntimeError("a driver's own"),
    lambda: KeyError("a bug"),
]


@pytest.mark.parametrize("broken", [0, 1, 2])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_tier_is_gone_without(
    tiers: Tiers, broken: int, failure: Callable[[], Exception]
) -> None:
    """Whatever a tier raises: writes and reads go on with the others, and it is counted."""
    tiers.all[broken].broken = failure()
    assert tiers.store.put_many(MODEL, items_of("a", "b")) == {}
    keys = [key_of(name) for name in "abc"]
    assert equal(tiers.store.get_many(MODEL, keys), items_of("a", "b"))
    counted = tiers.store.tier_stats()[broken]
    assert counted.errors > 0
    assert counted.down
    assert tiers.store.stats().errors == counted.errors


def test_all_tiers_may_fail(tiers: Tiers) -> None:
    """Without any store everything is a miss, and no error."""
    for tier in tiers.all:
        tier.broken = RuntimeError("gone")
    assert tiers.store.put_many(MODEL, items_of("a")) == {}
    assert tiers.store.get_many(MODEL, [key_of("a")]) == {}
    assert tiers.store.stats().entries == 0


def test_a_failure_is_warned_about_once(tiers: Tiers, caplog: pytest.LogCaptureFixture) -> None:
    """One warning that names the tier, however often it fails; all failures are counted."""
    for number in range(5):
        tiers.middle.broken = RuntimeError(f"reason {number}")
        tiers.store.get_many(MODEL, [key_of("a")])
        tiers.clock.now += 1000
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "middle" in record.getMessage()
    assert "reason 0" in record.getMessage()
    assert list(notices.counts().values()) == [5]


def test_a_failed_tier_is_left_alone_for_a_while(tiers: Tiers) -> None:
    """It is not asked again at once; then one call tries, and the pause doubles, up to a bound."""
    tiers.middle.broken = RuntimeError("gone")
    pauses = []
    for _ in range(8):
        tiers.store.get_many(MODEL, [key_of("a")])
        tiers.middle.calls.clear()
        started = tiers.clock.now
        while not tiers.middle.calls:
            tiers.clock.now += 0.5
            tiers.store.get_many(MODEL, [key_of("a")])
        pauses.append(tiers.clock.now - started)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_tier_that_works_again_is_used_again(
    tiers: Tiers, caplog: pytest.LogCaptureFixture
) -> None:
    """After the pause the first success ends it, and an INFO line says so."""
    tiers.bottom.broken = RuntimeError("gone")
    tiers.store.put_many(MODEL, items_of("a"))
    tiers.bottom.broken = None
    tiers.clock.now += 1
    with caplog.at_level(logging.INFO, logger="pytest_embedcache"):
        tiers.store.put_many(MODEL, items_of("b"))
        tiers.store.put_many(MODEL, items_of("c"))
    assert tiers.holders("a") == ["top", "middle"]
    assert tiers.holders("b") == tiers.holders("c") == ["top", "middle", "bottom"]
    assert "bottom works again" in caplog.text
    assert not tiers.store.tier_stats()[2].down


def test_a_tier_that_cannot_be_written_is_still_read(tiers: Tiers) -> None:
    """A full disk fails for writes; what it holds is found all the same."""
    MemoryStore.put_many(tiers.bottom, MODEL, items_of("a"))
    tiers.bottom.broken, tiers.bottom.broken_for = OSError(28, "full"), ("put",)
    tiers.store.put_many(MODEL, items_of("b"))
    for _ in range(3):
        assert equal(tiers.store.get_many(MODEL, [key_of("a")]), items_of("a"))
        tiers.top.clear()
        tiers.middle.clear()
    assert tiers.store.tier_stats()[2].hits == 3


def test_a_pausing_tier_is_skipped_without_a_warning(tiers: Tiers) -> None:
    """A store that has a breaker of its own says that it waits: that is no new failure."""
    tiers.bottom.broken = StorePausedError("redis", "there", "it failed a moment ago", "Wait.")
    for _ in range(5):
        tiers.store.get_many(MODEL, [key_of("a")])
    counted = tiers.store.tier_stats()[2]
    assert (counted.errors, counted.skipped, counted.down) == (0, 5, False)
    assert len(tiers.bottom.calls) == 5
    assert notices.counts() == {}


def test_an_interrupt_is_not_swallowed(tiers: Tiers) -> None:
    """Ctrl-C in a tier reaches the caller."""
    tiers.middle.broken = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        tiers.store.get_many(MODEL, [key_of("a")])


@pytest.mark.parametrize(
    "answer",
    [
        {key_of("a"): np.zeros(3)},
        {key_of("a"): np.zeros((1, 3), np.float32)},
        {key_of("other"): np.zeros(3, np.float32)},
        {key_of("a"): [1.0, 2.0]},
        None,
    ],
    ids=["float64", "2-D", "another key", "list", "nothing"],
)
def test_an_answer_that_breaks_the_protocol_is_a_failure(tiers: Tiers, answer: Any) -> None:
    """A store written by anyone may return anything: it is a miss, and the tier has failed."""
    tiers.top.get_many = lambda fingerprint, keys: answer  # type: ignore[method-assign]
    MemoryStore.put_many(tiers.bottom, MODEL, items_of("a"))
    assert equal(tiers.store.get_many(MODEL, [key_of("a")]), items_of("a"))
    assert tiers.store.tier_stats()[0].errors == 1


def test_a_vector_that_is_refused_is_the_callers_error(tiers: Tiers) -> None:
    """NaN is refused before any tier sees it: no tier has failed."""
    with pytest.raises(VectorError):
        tiers.store.put_many(MODEL, {key_of("a"): np.array([np.nan], np.float32)})
    assert [tier.errors for tier in tiers.store.tier_stats()] == [0, 0, 0]
    assert [tier.calls for tier in tiers.all] == [[], [], []]


# ------------------------------------------------------------------------------ removing


def test_a_deletion_that_failed_somewhere_is_not_hidden(tiers: Tiers) -> None:
    """All tiers are tried, then the error is raised: what is stale must not come back."""
    tiers.store.put_many(MODEL, items_of("a", "b"))
    tiers.middle.broken, tiers.middle.broken_for = RuntimeError("gone"), ("delete", "clear")
    with pytest.raises(RuntimeError, match="gone"):
        tiers.store.delete_many(MODEL, [key_of("a")])
    assert tiers.holders("a") == ["middle"]
    with pytest.raises(RuntimeError, match="gone"):
        tiers.store.clear(MODEL)
    assert tiers.holders("b") == ["middle"]


def test_a_deletion_counts_what_any_tier_held(tiers: Tiers) -> None:
    """A vector in three tiers is one vector."""
    tiers.store.put_many(MODEL, items_of("a", "b"))
    tiers.top.clear()
    assert tiers.store.delete_many(MODEL, [key_of("a")]) == 1
    assert tiers.store.clear() == 1


# ------------------------------------------------------------------------------ the end


def test_all_tiers_are_closed_though_one_fails(tiers: Tiers) -> None:
    """`close` reaches every tier, and says which did not."""
    tiers.top.broken, tiers.top.broken_for = RuntimeError("stuck"), ("close",)
    tiers.store.close()
    assert [tier.closed for tier in tiers.all] == [True, True, True]
    assert any("top" in message and "stuck" in message for message in notices.counts())


def test_stats_name_a_tier_that_cannot_tell(tiers: Tiers) -> None:
    """What the others say is there; the one that failed has its error."""
    tiers.store.put_many(MODEL, items_of("a"))
    tiers.middle.broken = RuntimeError("gone")
    stats = tiers.store.stats()
    assert stats.entries == 1
    assert stats.details["middle"] == {"error": "gone"}
    assert stats.details["bottom"]["entries"] == 1
