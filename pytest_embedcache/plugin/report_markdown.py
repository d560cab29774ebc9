"""A report as Markdown, for the job summary of a CI: tables, and drawings made of letters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_embedcache.plugin.report_sections import (
    gate_words,
    host_rows,
    model_figures,
    money_words,
    parts_of,
    tiles,
    verdicts,
)
from pytest_embedcache.words import count, in_code, in_markdown, seconds

__all__ = ["markdown"]

#: Rows of a table; a job summary takes a megabyte.
_ROWS = 50
#: Letters across, of a worker's time and of a gate's interval.
_WIDTH = 40
_REACH = 4.0
Row = Mapping[str, Any]


def markdown(report: Row) -> str:
    """The whole file; `report` is what `gather` returns."""
    return "\n".join(line for section in _SECTIONS for line in section(report)) + "\n"


def _head(report: Row) -> Iterator[str]:
    yield f"## embedcache: {in_markdown(report['project'])}"
    yield ""
    words = [f"**{text}**" if kind == "bad" else text for kind, text in verdicts(report)]
    if report["start"] is not None:
        words.append(seconds(report["end"] - report["start"]))
    yield ", ".join(words)
    yield ""
    figures = list(tiles(report))
    heads = [("l", name) for name, *_ in figures]
    values = [f"**{in_markdown(value)}**" for _, value, _ in figures]
    yield from _table(heads, [values, [in_markdown(note) for *_, note in figures]])


def _table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """`heads` are ("l" or "r", words); cells are Markdown."""
    yield f"| {' | '.join(words for _, words in heads)} |"
    yield f"| {' | '.join('---:' if side == 'r' else '---' for side, _ in heads)} |"
    for row in rows[:_ROWS]:
        yield f"| {' | '.join(row)} |"
    yield ""
    if len(rows) > _ROWS:
        yield f"and {count(len(rows) - _ROWS)} more"
        yield ""


def _section(
    title: str, heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]
) -> Iterator[str]:
    if rows:
        yield f"### {title}"
        yield ""
        yield from _table(heads, rows)


def _timeline(report: Row) -> Iterator[str]:
    if report["start"] is None:
        return
    heads = [("l", "process"), ("l", "`█` load, `▓` computing, `░` tests")]
    heads += [("r", "tests"), ("r", "loads")]
    rows = [
        (
            in_code(lane["name"]),
            "no counts: crashed or stopped" if lane["silent"] else f"`{_drawn(lane, report)}`",
            count(lane["tests"]),
            count(len(lane["loads"])),
        )
        for lane in report["lanes"]
    ]
    yield from _section("What happened where, and when", heads, rows)


def _drawn(lane: Row, report: Row) -> str:
    """A process's time in letters: what is rare is drawn over what is not."""
    start, whole = report["start"], max(report["end"] - report["start"], 1e-9)
    letters = ["·"] * _WIDTH
    layers: tuple[tuple[str, Iterable[tuple[float, float]]], ...] = (
        ("░", ((row["start"], row["end"]) for row in lane["stretches"])),
        ("▓", ((since, until) for since, until, _ in lane["computing"])),
        ("█", ((row["start"], row["end"]) for row in lane["loads"])),
    )
    for letter, stretches in layers:
        for since, until in stretches:
            first = min(_WIDTH - 1, int(_WIDTH * (since - start) / whole))
            last = max(first + 1, math.ceil(_WIDTH * (until - start) / whole))
            letters[first:last] = letter * (min(last, _WIDTH) - first)
    return "".join(letters)


def _vectors(report: Row) -> Iterator[str]:
    heads = [("l", "model"), ("r", "texts"), ("l", "where their vectors came from")]
    rows = [
        (
            in_code(row["name"]),
            count(row["asked"]),
            in_markdown(", ".join(f"{words} {count(n)}" for _, words, n in parts_of(row))),
        )
        for row in report["vectors"]
        if row["asked"]
    ]
    yield from _section("Texts", heads, rows)


def _models(report: Row) -> Iterator[str]:
    heads = [("l", "model"), ("l", "device"), ("r", "uses"), ("r", "loads"), ("r", "failed")]
    heads += [("r", "imports"), ("r", "loading")]
    rows = [
        (
            in_code(row["name"]),
            in_code(row["device"]),
            *model_figures(row),
        )
        for row in report["models"]
    ]
    yield from _section("Models", heads, rows)


def _host(report: Row) -> Iterator[str]:
    rows = [(in_markdown(what), in_markdown(much)) for what, much in host_rows(report)]
    yield from _section("The model host", [("l", "what"), ("r", "how much")], rows)


def _money(report: Row) -> Iterator[str]:
    heads = [("l", "model"), ("r", "texts sent"), ("r", "tokens"), ("r", "spent")]
    heads += [("r", "texts found"), ("r", "tokens saved"), ("r", "saved")]
    rows = []
    for row in report["bills"]:
        words = money_words(row)
        tokens, saved_tokens = words["tokens"], words["saved_tokens"]
        found = count(row["found"])
        cells = (count(row["sent"]), tokens, words["spent"], found, saved_tokens, words["saved"])
        rows.append((in_code(row["name"]), *cells))
    yield from _section("Services", heads, rows)


def _gates(report: Row) -> Iterator[str]:
    drawing = f"`{'1/4 of it':<13}{'as asked':^14}{'4 times':>13}`".replace(" ", "\xa0")
    heads = [("l", "gate"), ("l", drawing), ("r", "ratio"), ("r", "asked"), ("l", "outcome")]
    rows = []
    for row in report["gates"]:
        words = gate_words(row)
        name = in_code(row["test"])
        name += f" {in_markdown(row['name'])}" if row.get("name") else ""
        drawn = f"`{_interval(row)}`" if row.get("ratio") is not None else ""
        outcome = in_markdown(row["outcome"])
        outcome += f": {in_markdown(row['reason'])}" if row.get("reason") else ""
        rows.append((name, drawn, in_markdown(words["ratio"]), words["bound"], outcome))
    yield from _section("Speed-up gates", heads, rows)


def _interval(row: Row) -> str:
    """The bound in the middle, and the interval on a log scale; an arrow where it goes on."""
    bound = row["at_least"]
    letters = [" "] * _WIDTH
    letters[_WIDTH // 2] = "┊"
    low, high = _letter(row["low"], bound, 0), _letter(row["high"], bound, _WIDTH - 1)
    letters[low : high + 1] = "─" * (high - low + 1)
    letters[low] = "◂" if low == 0 else "├"
    letters[high] = "▸" if high == _WIDTH - 1 else "┤"
    letters[_letter(row["ratio"], bound, _WIDTH // 2)] = "●"
    return "".join(letters).rstrip().replace(" ", "\xa0")  # which a code span does not join


def _letter(value: float | None, bound: float, where_open: int) -> int:
    if value is None or not math.isfinite(value):
        return where_open
    if value <= 0:
        return 0
    place = math.log(value / bound) / math.log(_REACH)
    return max(0, min(_WIDTH - 1, round(_WIDTH / 2 * (1 + place))))


def _slow_tests(report: Row) -> Iterator[str]:
    heads = [("l", "test"), ("l", "where"), ("r", "seconds"), ("r", "loading"), ("r", "computing")]
    rows = [
        (
            in_code(row["test"]),
            in_code(row["worker"]),
            seconds(row["seconds"]),
            seconds(row["loading"]) if row["loading"] else "",
            seconds(row["computing"]) if row["computing"] else "",
        )
        for row in report["tests"]
    ]
    yield from _section("The slowest tests", heads, rows)


def _slow_texts(report: Row) -> Iterator[str]:
    heads = [("l", "SHA-256"), ("r", "characters"), ("l", "model"), ("l", "test")]
    heads += [("r", "seconds")]
    shown = any(row["text"] is not None for row in report["texts"])
    heads += [("l", "text")] if shown else []
    rows = []
    for row in report["texts"]:
        test = in_code(row["test"]) if row["test"] else "outside of tests"
        cells = [in_code(row["digest"][:12]), count(row["length"]), in_code(row["model"]), test]
        cells += [seconds(row["seconds"])]
        cells += [in_code(row["text"])] if shown else []
        rows.append(cells)
    yield from _section("The slowest texts", heads, rows)


def _off(report: Row) -> Iterator[str]:
    heads = [("l", "what, and why"), ("r", "times")]
    rows = [(in_markdown(said), count(number)) for said, number in report["off"]]
    yield from _section("Switched off, or done the slow way", heads, rows)


_SECTIONS = (
    *(_head, _timeline, _vectors, _models, _host, _money, _gates, _slow_tests, _slow_texts),
    _off,
)
