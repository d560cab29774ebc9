"""What tokens cost, exactly: in decimals, never in binary fractions."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact

__all__ = ["add_costs", "cost_of"]

_THOUSAND = Decimal(1000)
#: Enough for any product and sum here; whoever thinks of one that is not gets an error, not a
#: rounded sum. Not the thread's own context, which the application may have changed.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[Inexact])


def cost_of(tokens: int, price: Decimal | None) -> Decimal | None:
    """US dollars for `tokens` at `price` for 1,000; None where the price is not known.

    No tokens cost 0 at any price, also at one that is not known.
    """
    if tokens == 0:
        return Decimal(0)
    if price is None:
        return None
    return _EXACT.divide(_EXACT.multiply(Decimal(tokens), price), _THOUSAND).normalize(_EXACT)


def add_costs(one: Decimal, other: Decimal) -> Decimal:
    """Their sum, exactly."""
    return _EXACT.add(one, other)
