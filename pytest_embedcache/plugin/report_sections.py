"""What a report says in words, alike in HTML and in Markdown; unescaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_embedcache.plugin.gates_report import ratio_text
from pytest_embedcache.words import count, dollars, seconds, times

__all__ = [
    "gate_kind",
    "gate_words",
    "host_rows",
    "model_figures",
    "money_words",
    "parts_of",
    "tiles",
    "verdicts",
]

Row = Mapping[str, Any]
_TIERS = ("memory", "recordings", "sqlite", "redis")
_UNKNOWN = "unknown"
_KINDS = {"reached": "good", "too small to matter": "good", "missed": "bad", "undecided": "unsure"}


def verdicts(report: Row) -> Iterator[tuple[str, str]]:
    """(kind, words) of how the tests and the gates ended."""
    outcomes = report["outcomes"]
    for outcome, kind in (("passed", "good"), ("failed", "bad"), ("skipped", "")):
        if outcomes.get(outcome):
            yield kind, f"{count(outcomes[outcome])} {outcome}"
    gates = report["gates"]
    if gates:
        missed = sum(row["outcome"] == "missed" for row in gates)
        text = f"{missed} of {times(len(gates), 'gate')} missed" if missed else "no gate missed"
        yield "bad" if missed else "good", text
    if report["processes"] > 1:
        yield "", f"{count(report['processes'])} processes"


def tiles(report: Row) -> Iterator[tuple[str, str, str]]:
    """(name, value, note) of the figures that matter most."""
    totals = report["totals"]
    spent = {"imports": "import_seconds", "loads": "load_seconds", "encoding": "encode_seconds"}
    parts = [f"{name} {seconds(totals[key])}" for name, key in spent.items() if totals[key]]
    yield "Time saved", f"≈ {seconds(totals['saved_seconds'])}", "by what loads and texts cost"
    yield "Time spent", seconds(totals["spent_seconds"]), ", ".join(parts) or "on models"
    if totals["asked"]:
        share = f"{100 * totals['found'] / totals['asked']:.3g} %"
        note = f"{count(totals['found'])} of {times(totals['asked'], 'text')}"
        yield "Texts found", share, f"{note}; {count(totals['computed'])} computed"
    uses = totals["uses"] + totals["gets"]
    note = f"for {times(uses, 'use')}" if uses else "of models"
    if totals["failures"]:
        note += f", {count(totals['failures'])} failed"
    yield "Loads", count(totals["loads"]), note
    if report["bills"]:
        yield _money_tile(report["bills"])


def _money_tile(bills: list[Row]) -> tuple[str, str, str]:
    priced = [row["saved"] for row in bills if row["saved"] is not None]
    tokens = [row["saved_tokens"] for row in bills if row["saved_tokens"] is not None]
    unknown = [row["name"] for row in bills if row["saved"] is None]
    note = f"{count(sum(tokens))} tokens" if tokens else f"tokens {_UNKNOWN}"
    if unknown:
        note += f"; {_UNKNOWN} for {', '.join(unknown)}"
    value = f"≈ {dollars(sum(priced[1:], priced[0]))}" if priced else _UNKNOWN
    return "Money saved", value, note


def money_words(row: Row) -> dict[str, str]:
    """Tokens and dollars of a bill; what nobody knows is said to be unknown."""
    words = {
        name: _UNKNOWN if row[name] is None else count(row[name])
        for name in ("tokens", "saved_tokens")
    }
    for name in ("spent", "saved"):
        words[name] = _UNKNOWN if row[name] is None else dollars(row[name])
    return words


def model_figures(row: Row) -> tuple[str, ...]:
    """Uses, loads, failed loads, seconds of imports and of loading."""
    counts = (row["uses"] + row["gets"], row["loads"], row["failures"])
    return (*map(count, counts), seconds(row["import_seconds"]), seconds(row["load_seconds"]))


def host_rows(report: Row) -> list[tuple[str, str]]:
    """(what, how much) of the model host; empty where there was none."""
    host = report.get("host")
    if host is None:
        return []
    rows = [
        (f"texts asked by {name}", count(texts) + (", then lost" if name in host["lost"] else ""))
        for name, texts in host["asked"].items()
    ]
    for batches in host["batches"]:
        rows.append((f"calls of {batches['name']}", count(batches["calls"])))
        rows += [
            (f"of {texts} texts" if texts == "1" else f"of at most {texts} texts", count(calls))
            for texts, calls in batches["sizes"].items()
        ]
        rows.append(("calls for several workers", count(batches["shared"])))
    if host["peak_bytes"]:
        rows.append(("memory at most", f"{host['peak_bytes'] / 1e6:.0f} MB"))
    return rows


def parts_of(row: Row) -> list[tuple[str, str, int]]:
    """(kind, words, texts) of where the texts of a model came from; those that came from nowhere
    are left out."""
    tiers = sorted(row["found"].items(), key=lambda item: (*_TIERS, item[0]).index(item[0]))
    parts = [(tier if tier in _TIERS else "other", tier, texts) for tier, texts in tiers]
    parts += [
        ("computed", "computed", row["computed"]),
        ("shared", "shared", row["shared"]),
        ("past", "without the store", row["bypassed"]),
        ("changed", "by a model that may have been changed", row["untrusted"]),
    ]
    return [part for part in parts if part[2]]


def gate_kind(row: Row) -> str:
    """What its outcome means: good, bad, unsure, or nothing."""
    return _KINDS.get(row["outcome"], "")


def gate_words(row: Row) -> dict[str, str]:
    """The ratio with its interval, and the bound."""
    bound = "" if row.get("at_least") is None else f"{row['at_least']:g}"
    return {"ratio": "" if row.get("ratio") is None else ratio_text(row), "bound": bound}
