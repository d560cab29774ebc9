"""What services cost: known, or unknown, and never 0 by ignorance."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pytest_embedcache.plugin.money import bills
from pytest_embedcache.vectors.tally import Tally


def bill(tally: Tally, *, past: float | None = None, price: str | None = None) -> Any:
    row = {"name": "m", **tally.as_dict()}
    known = {} if past is None else {"m": past}
    found = bills([row], known, {} if price is None else {"m": price}, frozenset({"m"}))
    assert len(found) == 1
    return found[0]


def test_found_texts_are_counted_at_what_the_others_took() -> None:
    """Exactly, in decimals."""
    tally = Tally(asked=30, found={"redis": 20}, computed=10, billed=10, tokens=70)
    row = bill(tally, past=1.0, price="0.02")
    assert (row["tokens"], row["saved_tokens"]) == (70, 140)
    assert (row["spent"], row["saved"]) == (Decimal("0.0000014"), Decimal("0.0000028"))


def test_a_run_that_found_everything_counts_by_earlier_ones() -> None:
    """And has spent nothing, whatever the price."""
    row = bill(Tally(asked=20, found={"redis": 20}), past=7.0)
    assert (row["tokens"], row["saved_tokens"]) == (0, 140)
    assert (row["spent"], row["saved"]) == (0, None)


def test_what_nobody_knows_is_unknown() -> None:
    """The tokens of a service that does not say them, and the price that nobody gave."""
    row = bill(Tally(asked=30, found={"redis": 20}, computed=10), price="0.02")
    assert [row[name] for name in ("tokens", "saved_tokens", "spent", "saved")] == [None] * 4
    half = bill(Tally(asked=10, computed=10, billed=5, tokens=5), price="0.02")
    assert (half["tokens"], half["spent"], half["saved"]) == (None, None, 0)


def test_a_model_of_ones_own_has_no_bill() -> None:
    """It costs seconds."""
    row = {"name": "own", **Tally(asked=3, computed=3).as_dict()}
    assert bills([row], {}, {}, frozenset({"m"})) == []
