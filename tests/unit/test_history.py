"""What vectors cost over time: no line is lost, and none that is damaged counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.children import python, python_path

from pytest_embedcache import notices
from pytest_embedcache.vectors import history
from pytest_embedcache.vectors.history import Past, append, read, rows_of
from pytest_embedcache.vectors.tally import Tallies

ROW = {"model": "a", "asked": 9, "found": {"memory": 2, "sqlite": 3}, "computed": 4}
ROW |= {"encode_seconds": 2.0, "loads": 2, "load_seconds": 5.0}


def lines(directory: Path) -> list[str]:
    return (directory / "history.jsonl").read_text(encoding="utf-8").splitlines()


# ------------------------------------------------------------------------------ what is written


def test_rows_add_up_by_model(tmp_path: Path) -> None:
    """And give what a text and a load cost, and how many of the vectors were there."""
    for _ in range(2):
        append(tmp_path, [ROW, {"model": "b", "loads": 1, "load_seconds": 3.0}])
    found = read(tmp_path)
    assert found["a"] == Past(18, {"memory": 4, "sqlite": 6}, 8, 4.0, 4, 10.0)
    assert (found["a"].seconds_per_text, found["a"].seconds_per_load) == (0.5, 2.5)
    assert found["a"].hit_rate == 10 / 18
    assert (found["b"].seconds_per_text, found["b"].seconds_per_load) == (0.0, 3.0)
    assert found["b"].hit_rate is None


def test_what_texts_and_loads_cost_is_the_same_without_the_rows_that_cost_nothing(
    tmp_path: Path,
) -> None:
    """Those are most of a history, and every run reads it."""
    free = ROW | {"computed": 0, "encode_seconds": 0.0}
    loaded = dict(free)
    del free["loads"], free["load_seconds"]
    append(tmp_path, [ROW, free, free, loaded])
    every, some = read(tmp_path)["a"], read(tmp_path, costs_only=True)["a"]
    assert (every.asked, some.asked) == (36, 18)
    assert (some.seconds_per_text, some.seconds_per_load) == (0.5, 2.5)
    assert (every.seconds_per_text, every.seconds_per_load) == (0.5, 2.5)


def test_a_text_that_was_asked_for_twice_lowers_no_hit_rate() -> None:
    """Nor does one that no store can answer: the rate is of what was looked for in the store."""
    assert Past(asked=100, found={"sqlite": 5}, computed=0).hit_rate == 1.0


def test_rows_have_what_was_counted_and_no_more() -> None:
    """Texts from the tallies, loads from the registries; a fake, and what did nothing, are out."""
    tallies = Tallies()
    tallies.add("a", asked=3, found={"sqlite": 1}, computed=2, encode_seconds=0.5, shared=0)
    tallies.add("live", asked=3, bypassed=3)
    model = {"name": "a", "loads": 1, "load_seconds": 1.0, "import_seconds": 4.0}
    rows = rows_of(
        tallies.as_dict(),
        [
            model,
            model | {"device": "cuda:0"},
            model | {"name": "b", "loads": 0},
            model | {"name": "c", "backend": "fake"},
            model | {"name": "live", "backend": "torch"},
        ],
    )
    texts = {"asked": 3, "found": {"sqlite": 1}, "computed": 2, "encode_seconds": 0.5}
    assert rows == [
        {"model": "a", **texts, "loads": 2, "load_seconds": 10.0},
        {"model": "live", "loads": 1, "load_seconds": 5.0},
    ]


def test_a_row_is_one_line_that_the_next_version_can_read(tmp_path: Path) -> None:
    """Appended in one write, to a file of the user's own."""
    writes: list[bytes] = []
    write = os.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: writes.append(data) or write(handle, data))
        append(tmp_path / "new", [ROW, ROW | {"model": 'org/"b"\n'}])
    (data,) = writes
    assert [json.loads(line)["model"] for line in data.decode().splitlines()] == ["a", 'org/"b"\n']
    assert lines(tmp_path / "new") == data.decode().splitlines()
    if os.name == "posix":
        assert (tmp_path / "new" / "history.jsonl").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_nothing_to_say_makes_no_file(tmp_path: Path) -> None:
    """Nor a directory."""
    append(tmp_path / "new", [])
    assert not (tmp_path / "new").exists()
    assert read(tmp_path / "new") == {}


# ------------------------------------------------------------------------------ bad days


@pytest.mark.parametrize(
    "line",
    [
        "",
        "garbage",
        '{"model": "a", "asked"',
        "[1, 2]",
        "null",
        '"a"',
        '{"asked": 1}',
        '{"model": 7, "asked": 1}',
        '{"model": "a", "asked": "many"}',
        '{"model": "a", "asked": -1}',
        '{"model": "a", "asked": 1, "encode_seconds": NaN}',
        '{"model": "a", "asked": 1, "load_seconds": Infinity}',
        '{"model": "a", "asked": 1e999}',
        '{"model": "a", "found": {"sqlite": "x"}}',
        '{"model": "a", "found": [1]}',
        '{"model": "a", "found": {"sqlite": 5}, "computed": []}',
        "[" * 100_000,
        '{"model": "a", "asked": ' + "9" * 5000 + "}",
    ],
    ids=lambda line: line[:40] or "empty",
)
def test_a_damaged_line_counts_not_even_in_part(tmp_path: Path, line: str) -> None:
    """And takes nothing from its neighbours."""
    file = tmp_path / "history.jsonl"
    file.write_text(f"{json.dumps(ROW)}\n{line}\n{json.dumps(ROW)}\n", encoding="utf-8")
    found = read(tmp_path)
    assert found == {"a": Past(18, {"memory": 4, "sqlite": 6}, 8, 4.0, 4, 10.0)}


@given(st.binary(max_size=200))
def test_no_content_of_the_file_is_an_error(tmp_path_factory: Any, content: bytes) -> None:
    """Whatever stands there, reading gives numbers that make sense."""
    directory = tmp_path_factory.mktemp("history")
    (directory / "history.jsonl").write_bytes(content)
    for past in read(directory).values():
        assert 0 <= past.seconds_per_text < float("inf")
    append(directory, [ROW])
    assert read(directory)["a"].loads >= 2


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    """Who was killed in the middle of a write left no end of a line: the next begins a new one."""
    append(tmp_path, [ROW])
    file = tmp_path / "history.jsonl"
    file.write_bytes(file.read_bytes() + b'{"model": "a", "asked": 100')
    append(tmp_path, [ROW])
    assert read(tmp_path)["a"].asked == 18
    append(tmp_path, [ROW])
    assert len(lines(tmp_path)) == 4


def test_a_full_disk_is_one_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that took only a part of the lines, as on a disk with little room left."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]))
    append(tmp_path, [ROW])
    append(tmp_path, [ROW])
    monkeypatch.undo()
    (message,) = notices.counts()
    assert "history" in message
    append(tmp_path, [ROW])
    assert read(tmp_path)["a"].asked == 9


def test_a_directory_that_cannot_be_used_is_one_notice(tmp_path: Path) -> None:
    """However often: a file stands there. Nothing is raised."""
    (tmp_path / "file").write_text("")
    for _ in range(3):
        append(tmp_path / "file" / "v1", [ROW])
        assert read(tmp_path / "file" / "v1") == {}
    assert list(notices.counts().values()) == [3]


# ------------------------------------------------------------------------------ many lines


def test_of_a_long_history_the_newer_half_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never grows beyond its bound, and what was written last is there."""
    monkeypatch.setattr(history, "MAX_BYTES", 8_000)
    for number in range(200):
        append(tmp_path, [{"model": "a", "asked": 1}, {"model": f"model {number}", "asked": 1}])
        size = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert size <= 8_000 + 200
        assert f"model {number}" in read(tmp_path)
    assert size > 4_000, "half of it stays"
    assert "model 0" not in read(tmp_path)
    kept = read(tmp_path)["a"].asked
    assert {f"model {number}" for number in range(200 - kept, 200)} < set(read(tmp_path))


def test_processes_that_write_at_once_lose_no_line(tmp_path: Path) -> None:
    """8 processes, 200 appends each, while the older half is put aside, and nobody complains."""
    code = (
        "import sys; from pathlib import Path; from pytest_embedcache.vectors import history\n"
        "directory, name = Path(sys.argv[1]), sys.argv[2]\n"
        "history.MAX_BYTES = int(sys.argv[3])\n"
        "sys.stdin.readline()\n"
        "for number in range(200):\n"
        "    rows = [{'model': model, 'asked': 1} for model in (name, 'all')]\n"
        "    history.append(directory, rows)\n"
        "assert not history.notices.counts()"
    )
    total = 8 * 200 * len(b'{"asked": 1, "model": "p0"}\n{"asked": 1, "model": "all"}\n')
    children = [
        subprocess.Popen(
            # The first half is renamed once, while all write.
            [sys.executable, "-c", code, str(tmp_path), f"p{number}", str(int(total * 1.2))],
            stdin=subprocess.PIPE,
        )
        for number in range(8)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    assert [child.wait(timeout=120) for child in children] == [0] * 8
    found = read(tmp_path)
    assert (tmp_path / "history-older.jsonl").exists()
    assert found.pop("all").asked == 8 * 200
    assert {name: past.asked for name, past in found.items()} == {f"p{n}": 200 for n in range(8)}


# ------------------------------------------------------------------------------ production


def test_a_process_notes_at_its_end_what_it_did(tmp_path: Path, tiny: Path) -> None:
    """`get_model` and no pytest: texts and loads. A forked child notes its own texts only."""
    code = """
        import os, sys
        from support import light; light.install()
        from pytest_embedcache import get_model
        model = get_model(sys.argv[1])
        model.encode(["one", "two"])
        if hasattr(os, "fork") and not os.fork():
            model.encode(["one", "three", "three"])
            sys.exit()
        if hasattr(os, "fork"):
            os.wait()
    """
    python(dedent(code), str(tiny), PYTHONPATH=python_path("tests"))
    past = read(Path(os.environ["EMBEDCACHE_DIR"]) / "v1")[str(tiny)]
    assert past.loads == 1
    if hasattr(os, "fork"):
        assert (past.asked, past.found, past.computed) == (5, {"memory": 1}, 3)
    else:
        assert (past.asked, past.found, past.computed) == (2, {}, 2)
