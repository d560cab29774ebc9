"""What a process notes for a report: loads, stretches of computing, and the slowest texts."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toys import ToyBackend

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.models import defaults
from pytest_embedcache.plugin.timeline import SLOWEST, Timeline


def test_a_load_is_noted_with_its_test_and_a_failed_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a registry that nobody told of it; a model that is there already is no load."""
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "test_a.py::test_b (call)")
    timeline = Timeline()
    monkeypatch.setattr(defaults, "watch", timeline)
    backend = ToyBackend()
    registry = ModelRegistry(cache_dir=tmp_path, backends={"torch": backend})
    registry.get(ModelSpec("org/a"))
    registry.get(ModelSpec("org/a"))
    backend.on_load = lambda spec: 1 / 0
    with pytest.raises(ZeroDivisionError):
        registry.get(ModelSpec("org/b"))
    one, other = timeline.as_dict()["loads"]
    assert (one["name"], one["device"], one["failed"]) == ("org/a", "cpu", False)
    assert (other["name"], other["failed"]) == ("org/b", True)
    assert one["test"] == "test_a.py::test_b"
    assert one["start"] <= one["end"] <= other["start"] <= other["end"]
    assert timeline.as_dict()["tests"].keys() == {"test_a.py::test_b"}


def test_texts_have_their_part_of_a_call_by_length() -> None:
    """Named by the SHA-256 of their bytes alone, unless the texts themselves are asked for."""
    texts = ["a" * 29, "b" * 9, "\ud800"]
    for shown in (False, True):
        timeline = Timeline(texts=shown)
        timeline.computed("m", texts, 4.2)
        rows = timeline.as_dict()["texts"]
        assert [row["seconds"] for row in rows] == pytest.approx([3.0, 1.0, 0.2])
        assert [row["length"] for row in rows] == [29, 9, 1]
        assert rows[1]["digest"] == hashlib.sha256(b"b" * 9).hexdigest()
        assert rows[0]["together"] == 3
        assert [row["text"] for row in rows] == (
            [*texts[:2], "\\ud800"] if shown else [None, None, None]
        )


def test_the_slowest_are_kept_each_once() -> None:
    """However many there were; a text that was computed again is there with its slowest time."""
    timeline = Timeline()
    for number in range(3 * SLOWEST):
        timeline.computed("m", [f"text {number:03}"], float(number))
        timeline.computed("m", ["again and again"], number / 2 + 1000.0)
    rows = timeline.as_dict()["texts"]
    assert len(rows) == SLOWEST
    assert len({row["digest"] for row in rows}) == SLOWEST
    assert rows[0]["seconds"] == (3 * SLOWEST - 1) / 2 + 1000
    assert [row["seconds"] for row in rows[1:]] == [59.0 - n for n in range(SLOWEST - 1)]


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(1, 9)), max_size=1500))
def test_what_is_kept_of_a_long_run_is_bounded_and_loses_no_text(
    calls: list[tuple[float, int]],
) -> None:
    """Stretches are joined with their neighbours, in their order."""
    timeline = Timeline()
    for since, texts in calls:
        timeline._stretch(since, since + 0.5, texts)
    found = timeline.as_dict()["computing"]
    assert len(found) <= 500
    assert sum(texts for *_, texts in found) == sum(texts for _, texts in calls)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(found))


def test_a_forked_child_notes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reports to nobody, and a lock may be held in it that nobody gives back."""
    timeline = Timeline()
    timeline._lock.acquire()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    timeline.computed("m", ["a"], 1.0)
    timeline.loaded(ModelSpec("m"), 1.0, import_seconds=0.0, failed=False)
    timeline._lock.release()
    assert timeline.as_dict() == {"loads": [], "computing": [], "texts": [], "tests": {}}
