"""What the texts of services cost, and what those that were found would have cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

__all__ = ["bills"]

_MILLION = 1_000_000


def bills(
    vectors: list[dict[str, Any]],
    past: Mapping[str, float],
    prices: Mapping[str, str],
    services: frozenset[str],
) -> list[dict[str, Any]]:
    """A row for each model of a service; None is what nobody knows, which is not 0.

    `past` has the tokens of a text in earlier runs, `prices` US dollars for a million tokens, both
    by model; `services` are names of models that are a service's, whatever else is known of them.

    A row has `tokens`, that were paid for, and `saved_tokens`: those of the texts that were found,
    at what a text took on average in this run or else before. `spent` and `saved` are `Decimal`.
    """
    rows = []
    for row in vectors:
        name = row["name"]
        if not (row["billed"] or name in past or name in prices or name in services):
            continue
        known = row["billed"] == row["computed"]
        per_text = row["tokens"] / row["billed"] if row["billed"] else past.get(name)
        found = sum(row["found"].values())
        saved = 0 if not found else None if per_text is None else round(found * per_text)
        tokens = row["tokens"] if known else None
        price = Decimal(prices[name]) if name in prices else None
        rows.append(
            {
                "name": name,
                "found": found,
                "sent": row["computed"],
                "tokens": tokens,
                "saved_tokens": saved,
                "price": price,
                "spent": _cost(tokens, price),
                "saved": _cost(saved, price),
            }
        )
    return rows


def _cost(tokens: int | None, price: Decimal | None) -> Decimal | None:
    if tokens == 0:
        return Decimal(0)  # at any price
    return None if tokens is None or price is None else tokens * price / _MILLION
