"""A report as one HTML file: no script, no request, and nothing from a test is markup."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pytest_embedcache.pages import frame, section, table, tiled
from pytest_embedcache.plugin import report_svg as svg
from pytest_embedcache.plugin.report_sections import (
    gate_kind,
    gate_words,
    host_rows,
    model_figures,
    money_words,
    parts_of,
    tiles,
    verdicts,
)
from pytest_embedcache.plugin.report_style import STYLE
from pytest_embedcache.words import count, dollars, in_html, seconds, times

__all__ = ["page"]

#: A page that was tampered with on its way cannot ask for anything either.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_KEYS = (
    ("tests", "tests"),
    ("failed", "failed"),
    ("loads", "load"),
    ("computed", "texts computed"),
)
Row = Mapping[str, Any]


def page(report: Row) -> str:
    """The whole file; `report` is what `gather` returns."""
    title = f"embedcache · {in_html(report['project'])}"
    body = "\n".join(part for show in _SECTIONS for part in show(report))
    return frame(title, body, style=STYLE, policy=_POLICY)


def _header(report: Row) -> Iterator[str]:
    yield f"<header><h1>{in_html(report['project'])}</h1>"
    pills = "".join(f'<span class="pill {kind}">{text}</span>' for kind, text in verdicts(report))
    yield f'<p class="quiet">{pills} {_when(report)}</p></header>'


def _when(report: Row) -> str:
    if report["start"] is None:
        return ""
    began = datetime.fromtimestamp(report["start"], UTC)
    return f"{began:%Y-%m-%d %H:%M:%S} UTC, {seconds(report['end'] - report['start'])}"


def _tiles(report: Row) -> Iterator[str]:
    yield from tiled(tiles(report))


def _key(kind: str, words: str) -> str:
    swatch = f'<svg aria-hidden="true"><rect class="{kind}" width="100%" height="100%"/></svg>'
    return f'<span class="key">{swatch}{words}</span>'


def _timeline(report: Row) -> Iterator[str]:
    if report["start"] is None:
        return
    start, end = report["start"], report["end"]
    failed = any(row["failed"] for lane in report["lanes"] for row in lane["stretches"])
    failed = failed or any(load["failed"] for lane in report["lanes"] for load in lane["loads"])
    keys = "".join(_key(*key) for key in _KEYS if key[0] != "failed" or failed)

    def lanes() -> Iterator[str]:
        yield '<div class="lanes">'
        for lane in report["lanes"]:
            facts = [times(lane["tests"], "test"), times(len(lane["loads"]), "load")]
            said = "no counts: crashed or stopped" if lane["silent"] else ", ".join(facts)
            yield f"<div><b>{in_html(lane['name'])}</b><span>{said}</span></div>"
            yield f"<div>{svg.lane(lane, start, end)}</div>"
        yield f"<div></div><div>{svg.axis(end - start)}</div></div>"

    note = f"{keys}<br>The darker part of a load is the import of its libraries."
    yield from section("What happened where, and when", note, lanes())


def _texts(report: Row) -> Iterator[str]:
    vectors = [row for row in report["vectors"] if row["asked"]]
    if not vectors:
        return

    def models() -> Iterator[str]:
        for row in vectors:
            parts = parts_of(row)
            keys = "".join(_key(kind, f"{words} {count(n)}") for kind, words, n in parts)
            yield f'<div class="model"><p><code>{in_html(row["name"])}</code>'
            yield f'<span class="quiet">{times(row["asked"], "text")}</span></p>'
            yield f"{svg.shares(parts)}<p>{keys}</p></div>"

    note = "Of the texts that were asked for: found in a store, by tier, or computed by the model."
    yield from section("Where the vectors came from", note, models())


def _models(report: Row) -> Iterator[str]:
    heads = [("wide", "model"), ("", "device"), ("n", "uses"), ("n", "loads"), ("n", "failed")]
    heads += [("n", "imports"), ("n", "loading")]
    rows = [
        (
            f"<code>{in_html(row['name'])}</code>",
            in_html(row["device"]),
            *model_figures(row),
        )
        for row in report["models"]
    ]
    if rows:
        yield from section("Models", "", table(heads, rows))


def _host(report: Row) -> Iterator[str]:
    rows = [(in_html(what), in_html(much)) for what, much in host_rows(report)]
    if rows:
        yield from section("The model host", "", table([("wide", "what"), ("n", "how much")], rows))


def _money(report: Row) -> Iterator[str]:
    if not report["bills"]:
        return
    heads = [("wide", "model"), ("n", "texts sent"), ("n", "tokens"), ("n", "spent")]
    heads += [("n", "texts found"), ("n", "tokens saved"), ("n", "saved"), ("n", "per million")]
    rows = []
    for row in report["bills"]:
        words = money_words(row)
        rows.append(
            (
                f"<code>{in_html(row['name'])}</code>",
                count(row["sent"]),
                words["tokens"],
                words["spent"],
                count(row["found"]),
                words["saved_tokens"],
                words["saved"],
                dollars(row["price"]) if row["price"] is not None else "unknown",
            )
        )
    note = (
        "Tokens are those of the services' answers; what a found text would have taken is its "
        "model's average. Prices are those of <code>--embedcache-prices</code>."
    )
    yield from section("Services", note, table(heads, rows))


def _gates(report: Row) -> Iterator[str]:
    if not report["gates"]:
        return
    heads = [("wide", "gate"), ("drawn", svg.gate_scale()), ("n", "ratio")]
    heads += [("n", "asked"), ("", "outcome")]
    rows = []
    for row in report["gates"]:
        kind, words = gate_kind(row), gate_words(row)
        name = f"<code>{in_html(row['test'])}</code>"
        name += f" {in_html(row['name'])}" if row.get("name") else ""
        name += f'<span class="text">{in_html(row["reason"])}</span>' if row.get("reason") else ""
        drawn = svg.gate(row, kind) if row.get("ratio") is not None else ""
        outcome = f'<span class="pill {kind}">{in_html(row["outcome"])}</span>'
        rows.append((name, drawn, words["ratio"], words["bound"], outcome))
    note = "How many times longer the baseline takes, with its interval; the shaded half is enough."
    yield from section("Speed-up gates", note, table(heads, rows))


def _slow_tests(report: Row) -> Iterator[str]:
    rows = report["tests"]
    longest = max((row["seconds"] for row in rows), default=0.0)
    if not longest:
        return
    heads = [("wide", "test"), ("", "where"), ("bar", ""), ("n", "seconds"), ("n", "loading")]
    heads += [("n", "computing")]
    cells = [
        (
            f"<code>{in_html(row['test'])}</code>{_outcome(row['outcome'])}",
            in_html(row["worker"]),
            svg.split(row, longest),
            seconds(row["seconds"]),
            seconds(row["loading"]) if row["loading"] else "",
            seconds(row["computing"]) if row["computing"] else "",
        )
        for row in rows
    ]
    yield from section("The slowest tests", "With setup and teardown.", table(heads, cells))


def _outcome(outcome: str) -> str:
    return "" if outcome == "passed" else f' <span class="pill bad">{in_html(outcome)}</span>'


def _slow_texts(report: Row) -> Iterator[str]:
    if not report["texts"]:
        return
    heads = [
        ("sha", "SHA-256"),
        ("n", "characters"),
        ("wide", "model, and the test that had it first"),
    ]
    heads += [("n", "together with"), ("n", "seconds")]
    rows = []
    for row in report["texts"]:
        where = f"<code>{in_html(row['model'])}</code>"
        where += f'<span class="text">{in_html(row["test"] or "outside of tests")}</span>'
        if row["text"] is not None:
            where += f'<span class="text">“{in_html(row["text"])}”</span>'
        digest = in_html(row["digest"])
        rows.append(
            (
                f'<code title="{digest}">{digest[:12]}</code>',
                count(row["length"]),
                where,
                count(row["together"] - 1) if row["together"] > 1 else "",
                seconds(row["seconds"]),
            )
        )
    note = (
        "Texts of one call are computed together; each has its part of the time by its length. "
        "<code>--embedcache-report-texts</code> shows the texts themselves."
    )
    yield from section("The slowest texts", note, table(heads, rows))


def _off(report: Row) -> Iterator[str]:
    heads = [("wide", "what, and why"), ("n", "times")]
    rows = [(in_html(said), count(number)) for said, number in report["off"]]
    if rows:
        yield from section("Switched off, or done the slow way", "", table(heads, rows))


def _settings(report: Row) -> Iterator[str]:
    heads = [("", "setting"), ("wide", "value"), ("", "from")]
    rows = [
        (in_html(name), f"<code>{in_html(value)}</code>", in_html(source))
        for name, value, source in report["settings"]
    ]
    if rows:
        yield from section("What was set", "", table(heads, rows))


_SECTIONS: Sequence[Callable[[Row], Iterator[str]]] = (
    *(_header, _tiles, _timeline, _texts, _models, _host, _money, _gates, _slow_tests, _slow_texts),
    *(_off, _settings),
)
