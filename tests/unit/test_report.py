"""What a run says at its end: under ten lines, and nothing where nothing of ours was used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_embedcache.models.machine import describe_machine
from pytest_embedcache.plugin.counts import merge, serialize, with_savings
from pytest_embedcache.plugin.report import LINES, header, summary, write_json
from pytest_embedcache.plugin.settings import Settings
from pytest_embedcache.vectors.tally import Tally


def process(
    *loads: tuple[str, int],
    uses: dict[tuple[str, str], int] | None = None,
    vectors: dict[str, Tally] | None = None,
    failures: int = 0,
    threads: int | None = None,
    notices: dict[str, int] | None = None,
) -> dict[str, Any]:
    """The counts of one process, which loaded models so often, each in a second."""
    rows = [
        {
            "name": name,
            "device": "cpu",
            "backend": "torch",
            "gets": 0,
            "loads": count,
            "failures": failures,
            "evictions": 0,
            "load_seconds": float(count),
            "import_seconds": 0.5,
        }
        for name, count in loads
    ]
    tallies = [{name: tally.as_dict() for name, tally in (vectors or {}).items()}]
    return serialize(rows, uses or {}, tallies, threads=threads, notices=notices or {})


def said(*, asked_for: bool = False, room: int = LINES, **run: dict[str, Any] | None) -> list[str]:
    return list(summary(with_savings(merge(run), {}), asked_for=asked_for, room=room))


# ------------------------------------------------------------------------------ the summary


@given(
    models=st.integers(0, 20),
    workers=st.integers(1, 70),
    silent=st.integers(0, 70),
    notices=st.lists(st.text(max_size=20), max_size=12, unique=True),
    asked=st.integers(0, 3),
    threads=st.none() | st.integers(1, 8),
    asked_for=st.booleans(),
    room=st.integers(0, 8),
)
def test_the_summary_with_its_title_is_under_ten_lines(
    models: int,
    workers: int,
    silent: int,
    notices: list[str],
    asked: int,
    threads: int | None,
    asked_for: bool,
    room: int,
) -> None:
    """However many models, workers and notices there were, and whatever is written in them.

    Nor more lines than the end of a run with recordings has left."""
    counts = process(
        *((f"org/model-{i}", i) for i in range(models)),
        vectors={f"org/model-{i}": Tally(asked=asked) for i in range(models)},
        threads=threads,
        notices=dict.fromkeys(notices, 1),
    )
    run: dict[str, Any] = {f"gw{i}": counts for i in range(workers)}
    run |= {f"gw{workers + i}": None for i in range(silent)}
    lines = said(asked_for=asked_for, room=room, **run)
    assert len(lines) <= room
    assert all(len(line.splitlines()) <= 1 for line in lines)
    if room and (notices or silent) and (models or asked_for):
        shown = [" ".join(notice.split()) for notice in notices]
        assert any(re.search("notice|no counts", line) or line in shown for line in lines)
    lines = said(asked_for=asked_for, **run)
    assert len(lines) < 9
    if models:
        assert sum("more model" in line for line in lines) == (models > 4)


@pytest.mark.parametrize("run", [{}, {"main": process()}, {"gw0": process(), "gw1": None}])
def test_a_run_that_used_nothing_says_nothing(run: dict[str, Any]) -> None:
    """Not even that a worker crashed: that is no news of ours."""
    assert said(**run) == []


def test_one_process_has_its_loads_and_uses() -> None:
    """A model, what it took, and how many tests had it."""
    lines = said(main=process(("a", 1), uses={("a", "cpu"): 3}))
    assert lines[0] == "a on cpu: 1 load for 3 uses"
    assert lines[-1].startswith("spent 1.50 s (imports 0.50, loads 1.00), saved about ")
    assert len(lines) == 2


def test_a_model_that_was_only_used_had_no_load() -> None:
    """Its vectors were all there."""
    tally = Tally(asked=5, found={"sqlite": 5})
    first, second, _ = said(main=process(uses={("a", "cpu"): 1}, vectors={"a": tally}))
    assert first == "a on cpu: no load for 1 use"
    assert second == "vectors: 5 texts asked, 5 found (sqlite 5), 0 computed"


def test_every_text_that_was_asked_for_is_in_the_line() -> None:
    """Found by tier, computed, shared, past the store, and by a model that was handed out."""
    tally = Tally(
        asked=21, found={"memory": 1, "redis": 2}, computed=3, shared=4, bypassed=5, untrusted=6
    )
    _, line, _ = said(gw0=process(("a", 1), vectors={"a": tally}), gw1=process())
    assert line == (
        "vectors: 21 texts asked, 3 found (memory 1, redis 2), 3 computed, 4 shared, "
        "5 without the store, 6 by a model that may have been changed"
    )


def test_notices_take_the_room_that_there_is() -> None:
    """All of them, or as many as fit and how many there are beside."""
    notices = {f"trouble {number}": 1 for number in range(8)}
    few = said(main=process(("a", 1), notices=dict(list(notices.items())[:6])))
    assert few[2:] == [f"trouble {number}" for number in range(6)]
    many = said(main=process(*((f"{n}", 1) for n in range(9)), notices=notices))
    assert many[-3:-1] == ["trouble 0", "trouble 1"]
    assert many[-1] == "and 6 more notices (--embedcache-json lists all)"
    assert len(many) == 8


def test_workers_are_told_apart_only_where_they_differ() -> None:
    """The same number in each is one number."""
    assert said(gw0=process(("a", 1)), gw1=process(("a", 1)))[0] == (
        "a on cpu: 2 loads (in each of 2 workers 1)"
    )
    assert said(gw0=process(("a", 1)), gw1=process(("a", 2)))[0] == (
        "a on cpu: 3 loads (gw0 1, gw1 2)"
    )


def test_failed_loads_are_said() -> None:
    """Beside those that were not."""
    assert said(main=process(("a", 0), failures=2))[0] == "a on cpu: no load, 2 failed"


def test_held_threads_are_said() -> None:
    """In words that fit the number."""
    assert said(main=process(("a", 1), threads=1))[-1].endswith(
        "torch held to 1 thread in each process"
    )
    assert said(main=process(("a", 1), threads=2))[-1].endswith(
        "torch held to 2 threads in each process"
    )
    assert "torch" not in said(main=process(("a", 1)))[-1]


def test_a_worker_without_counts_is_named() -> None:
    """Where models were used, or something was set: the totals are without it."""
    for lines in (
        said(gw0=process(("a", 1)), gw1=None),
        said(gw0=process(), gw1=None, asked_for=True),
    ):
        assert [line for line in lines if "gw1" in line and "totals are without" in line]


def test_a_notice_of_several_lines_is_one_line() -> None:
    """An error's text may have any."""
    lines = said(main=process(("a", 1), notices={"the disk\n  is full": 1}))
    assert lines[-1] == "the disk is full"


# ------------------------------------------------------------------------------ the header


def test_the_header_says_what_was_set_and_where() -> None:
    """In one line; no line where nothing was."""
    assert header(Settings()) is None
    given = {"threads": "EMBEDCACHE_THREADS", "model": "--embedcache-model"}
    assert header(Settings(threads=2, model="m", given=given)) == (
        "embedcache: threads=2 (EMBEDCACHE_THREADS), model=m (--embedcache-model)"
    )


def test_no_password_is_in_the_header() -> None:
    """A URL may have one."""
    settings = Settings(redis_url="redis://u:secret@h", given={"redis_url": "ini x"})
    line = header(settings)
    assert line is not None
    assert "secret" not in line
    assert "ini x" in line


# ------------------------------------------------------------------------------ the file


def result() -> dict[str, Any]:
    return with_savings(merge({"gw0": process(("a", 1)), "gw1": None}), {})


def test_the_file_has_settings_totals_and_models(tmp_path: Path) -> None:
    """As JSON with a number for its format; its directory is made, and nothing else is in it."""
    path = tmp_path / "new" / "out.json"
    write_json(str(path), Settings(model="m", redis_url="redis://u:secret@h"), result())
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["format"] == 1
    assert content["machine"] == describe_machine()
    assert content["machine"]["cores"] >= 1
    assert content["settings"]["model"] == "m"
    assert content["totals"]["loads"] == 1
    assert content["silent"] == ["gw1"]
    assert [model["name"] for model in content["models"]] == ["a"]
    assert "secret" not in path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["out.json"]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    """Whole."""
    path = tmp_path / "out.json"
    path.write_text("x" * 100_000, encoding="utf-8")
    write_json(str(path), Settings(), result())
    assert json.loads(path.read_text(encoding="utf-8"))["totals"]["loads"] == 1


@pytest.mark.parametrize("place", [".", "file/out.json"])
def test_a_file_that_cannot_be_written_is_a_line_of_the_summary(tmp_path: Path, place: str) -> None:
    """A directory of that name, or a file where its directory should be."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    path = tmp_path / place
    merged = result()
    write_json(str(path), Settings(), merged)
    (problem,) = (line for line in summary(merged) if "could not be written" in line)
    assert str(path) in problem
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"]
