"""`embedcache gate`: the verdict on a run's measurings, its exit status, and its tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.ledgers import HERE, benchmarks, counts, row, unmeasured


def last(text: str) -> str:
    return text.splitlines()[-1]


def outcomes(shown: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in shown["comparison"]["changes"]}


# ------------------------------------------------------------------------------ one file


def test_gates_that_were_reached_are_status_0(command: Command, tmp_path: Path) -> None:
    """With a line for each, and how many there are."""
    small = row("t.py::small", 3, outcome="too small to matter")
    file = counts(tmp_path / "now.json", row("t.py::a", 12), small)
    ran = command("gate", file)
    assert (ran.status, ran.err) == (0, "")
    assert last(ran.out) == "2 of 2 gates measured, and none missed"
    assert ran.out.splitlines()[0].split()[:2] == ["too", "small"]
    assert "12 [11.9, 12.1] of 10  t.py::a" in ran.out


@pytest.mark.parametrize("outcome", ["missed", "undecided"])
def test_one_that_was_not_is_status_1_whatever_the_run_made_of_it(
    command: Command, tmp_path: Path, outcome: str
) -> None:
    """It stands first; that it was only reported, or skipped, is beside it and excuses nothing."""
    bad = row("t.py::b", 8, outcome=outcome, reason="only reported")
    ran = command("gate", counts(tmp_path / "now.json", row("t.py::a", 12), bad))
    assert ran.status == 1
    assert ran.out.startswith(outcome)
    assert "t.py::b  (only reported)" in ran.out.splitlines()[0]
    assert last(ran.out) == "1 missed or undecided"


@pytest.mark.parametrize("rows", [[], [unmeasured("t.py::a", "switched off")]], ids=["none", "off"])
def test_a_run_that_measured_nothing_is_no_success(
    command: Command, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    """Status 2, and it is said: a gate that was switched off would be green for ever."""
    ran = command("gate", counts(tmp_path / "now.json", *rows))
    assert ran.status == 2
    assert last(ran.out).startswith("nothing was judged")
    assert ran.out.count("switched off") == len(rows)


def bad_number(content: dict[str, Any]) -> None:
    content["gates"][0]["ratio"] = "12"


def no_ratio(content: dict[str, Any]) -> None:
    del content["gates"][0]["ratio"]


def other_word(content: dict[str, Any]) -> None:
    content["gates"][0]["outcome"] = "splendid"


def other_format(content: dict[str, Any]) -> None:
    content["format"] = 2


def no_gates(content: dict[str, Any]) -> None:
    del content["gates"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (bad_number, "'12' is no measured value"),
        (no_ratio, "'ratio' is missing"),
        (other_word, "'splendid' is no outcome"),
        (other_format, "its format is 2"),
        (no_gates, "neither 'benchmarks' nor"),
    ],
)
@pytest.mark.parametrize("place", ["current", "baseline"])
def test_a_file_that_cannot_be_used_is_status_2_and_named(
    command: Command,
    tmp_path: Path,
    damage: Callable[[dict[str, Any]], None],
    reason: str,
    place: str,
) -> None:
    """Not 1, which means slower; with the reason, and nothing on stdout."""
    good = counts(tmp_path / "good.json", row("t.py::a", 12))
    content = json.loads(good.read_text(encoding="utf-8"))
    damage(content)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(content), encoding="utf-8")
    ran = command("gate", *((bad,) if place == "current" else (good, "--baseline", bad)))
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"embedcache: {bad} cannot be used: ")
    assert reason in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("content", [None, "", "[1]", "{", "null", '{"benchmarks": 3}', "[" * 9999])
def test_what_is_no_such_file_is_status_2(
    command: Command, tmp_path: Path, content: str | None
) -> None:
    """Missing, empty, cut off, or another's."""
    file = tmp_path / "now.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    ran = command("gate", file)
    assert (ran.status, ran.out) == (2, "")
    assert f"{file} cannot be used: " in ran.err


# ------------------------------------------------------------------------------ two files


def test_ratios_are_compared_whatever_the_machine(command: Command, tmp_path: Path) -> None:
    """One that is surely smaller is status 1; times are not compared, with the reason."""
    before = counts(tmp_path / "then.json", row("t.py::a", 20), row("t.py::b", 20))
    other = HERE | {"processor": "A slow one"}
    rows = row("t.py::a", 19), row("t.py::b", 15, contender=9.0)
    now = counts(tmp_path / "now.json", *rows, machine=other)
    ran = command("gate", now, "--baseline", before)
    assert ran.status == 1
    assert "slower" in ran.out
    assert "20 → 15  t.py::b  (the ratio is 1.33 times smaller)" in ran.out
    assert "no slower" in next(line for line in ran.out.splitlines() if "→ 19" in line)
    assert "another processor: A slow one, and A fast one before" in ran.out
    assert last(ran.out) == "1 slower than before"
    shown = json.loads(command("gate", now, "--baseline", before, "--json").out)
    assert outcomes(shown) == {"t.py::b": "slower", "t.py::a": "no slower"}
    assert (shown["status"], shown["machine"]) == (1, other)


def test_how_much_slower_is_tolerated_is_said(command: Command, tmp_path: Path) -> None:
    """1.33 times, for one."""
    before = counts(tmp_path / "then.json", row("t.py::a", 20))
    now = counts(tmp_path / "now.json", row("t.py::a", 15))
    ran = command("gate", now, "--baseline", before, "--max-slowdown", "1.5")
    assert (ran.status, ran.err) == (0, "")
    assert last(ran.out).endswith("3 compared, and none surely slower")


@pytest.mark.parametrize(("spread", "open_end"), [(0.2, False), (0.01, True)])
def test_a_ratio_that_may_be_noise_is_listed_and_fails_nothing(
    command: Command, tmp_path: Path, spread: float, open_end: bool
) -> None:
    """Where the intervals are not as far apart as the ratios, or one has no end."""
    before = counts(tmp_path / "then.json", row("t.py::a", 20, spread), machine=None)
    wide = {"low": None, "high": None} if open_end else {}
    now = counts(tmp_path / "now.json", row("t.py::a", 15, spread, **wide))
    ran = command("gate", now, "--baseline", before)
    assert ran.status == 0
    assert ran.out.startswith("reached")
    assert "perhaps slower" in ran.out
    assert "the processor is not known of both" in ran.out


def test_times_are_compared_on_one_machine_or_when_asked(command: Command, tmp_path: Path) -> None:
    """Of pytest-benchmark the host's name counts too: hosted runners of one kind are not one."""
    before = benchmarks(tmp_path / "then.json", {"t.py::a": 0.1, "t.py::b": 0.1})
    times = {"t.py::a": 0.119, "t.py::b": 0.121}
    now = benchmarks(tmp_path / "now.json", times)
    shown = json.loads(command("gate", now, "--baseline", before, "--json").out)
    assert outcomes(shown) == {"t.py::b": "slower", "t.py::a": "no slower"}
    assert shown["status"] == 1
    for other in ({"node": "b"}, {"count": 4}, {"brand_raw": None}):
        now = benchmarks(tmp_path / "now.json", times, **other)
        ran = command("gate", now, "--baseline", before)
        assert ran.status == 2
        assert "times were not compared: " in ran.out
        assert last(ran.out).startswith("nothing was compared")
        ran = command("gate", now, "--baseline", before, "--absolute")
        assert ran.status == 1
        assert "100 ms → 121 ms  t.py::b  (it takes 1.21 times as long)" in ran.out


def test_what_one_file_has_alone_is_listed(command: Command, tmp_path: Path) -> None:
    """And is no failure, unless it is all there is."""
    before = counts(tmp_path / "then.json", row("t.py::a", 12), row("t.py::old", 12))
    gone = unmeasured("t.py::gone", "deselected")
    now = counts(tmp_path / "now.json", row("t.py::a", 12), row("t.py::new", 12), gone)
    ran = command("gate", now, "--baseline", before)
    assert ran.status == 0
    assert "only in the current file: t.py::new\n" in ran.out
    assert "only in the baseline: t.py::old\n" in ran.out
    assert "only in the current file: t.py::a" not in ran.out
    assert "(deselected)" in ran.out
    alone = counts(tmp_path / "alone.json", row("t.py::new", 12))
    ran = command("gate", alone, "--baseline", before)
    assert ran.status == 2
    assert last(ran.out).startswith("nothing was compared")


def test_a_gate_that_is_missed_fails_though_it_is_no_slower(
    command: Command, tmp_path: Path
) -> None:
    """And though nothing could be compared."""
    now = counts(tmp_path / "now.json", row("t.py::a", 8, outcome="missed"))
    assert command("gate", now, "--baseline", now).status == 1
    other = counts(tmp_path / "then.json", row("t.py::b", 8))
    assert command("gate", now, "--baseline", other).status == 1


def test_two_gates_of_one_test_are_two(command: Command, tmp_path: Path) -> None:
    """Neither hides the other: those without a name of their own are numbered."""
    bad = row("t.py::a", 8, outcome="missed")
    file = counts(tmp_path / "now.json", bad, row("t.py::a", 12), row("t.py::a", 12, name="x"))
    shown = json.loads(command("gate", file, "--json").out)
    assert [gate["name"] for gate in shown["gates"]] == ["t.py::a", "t.py::a #2", "t.py::a x"]
    assert shown["status"] == 1


# ------------------------------------------------------------------------------ a job summary


def test_markdown_is_added_to_a_file_and_names_are_no_markup(
    command: Command, tmp_path: Path
) -> None:
    """What the file has already stays; the same figures are in it."""
    summary = tmp_path / "summary.md"
    summary.write_text("# mine\n", encoding="utf-8")
    before = counts(tmp_path / "then.json", row("t.py::a[x|`<b>]", 20), row("t.py::old", 12))
    now = counts(tmp_path / "now.json", row("t.py::a[x|`<b>]", 15))
    assert command("gate", now, "--baseline", before, "--markdown", summary).status == 1
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("# mine\n## embedcache gate\n\n**1 slower than before**\n")
    name = "`` t.py::a[x\\|`<b>] ``"
    assert f"| {name} | reached | 15 &#91;14.8, 15.2&#93; | 10 |  |\n" in text
    assert f"| {name} | slower | 20 | 15 | 1.33 |\n" in text
    assert "only in the baseline: `t.py::old`" in text


def test_a_summary_that_cannot_be_written_is_status_2(command: Command, tmp_path: Path) -> None:
    """Not 1, which means slower."""
    file = counts(tmp_path / "now.json", row("t.py::a", 12))
    ran = command("gate", file, "--markdown", tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert "directory" in ran.err
