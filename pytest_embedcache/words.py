"""Names, amounts and hostile texts as they stand on a page."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from html import escape

__all__ = [
    "clean",
    "count",
    "dollars",
    "in_code",
    "in_html",
    "in_markdown",
    "seconds",
    "times",
]

#: Controls, directions of writing that turn the rest of a line round, halves of pairs.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
#: What is no markup inside of a line of Markdown, letters and digits apart.
_PLAIN = frozenset(" ,;()/…≈%+=?'-")
#: Characters of a name or a reason that are shown.
_LONGEST = 300


def clean(text: object) -> str:
    """One line in which everything is seen, of some hundred characters at most."""
    shown = str(text)
    if len(shown) > _LONGEST:
        shown = shown[: _LONGEST - 1] + "…"
    return "".join(_seen(character) for character in shown)


def _seen(character: str) -> str:
    if character in "\n\r\t":
        return {"\n": "⏎", "\r": "␍", "\t": "⇥"}[character]
    if unicodedata.category(character) in _UNSEEN:
        return f"\\u{ord(character):04x}"
    return character


def in_html(text: object) -> str:
    """As text or as the value of an attribute."""
    return escape(clean(text), quote=True)


def in_markdown(text: object) -> str:
    """As prose in a cell of a table: nothing in it is markup, a link or a mention."""
    shown = clean(text)
    return "".join(
        character if _is_plain(character, following) else f"&#{ord(character)};"
        for character, following in zip(shown, f"{shown} "[1:], strict=True)
    )


def _is_plain(character: str, following: str) -> bool:
    if character == ".":  # in a number or at the end, and not in the name of a host
        return not following.isalpha()
    return character.isalnum() or character in _PLAIN


def in_code(text: object) -> str:
    """As a code span in a cell of a table."""
    shown = clean(text).replace("|", "\\|")
    fence = "`"
    while fence in shown:
        fence += "`"
    return f"{fence} {shown} {fence}" if "`" in shown else f"`{shown or ' '}`"


def seconds(amount: float) -> str:
    """A time with its unit and about three digits."""
    if amount >= 100:
        minutes, rest = divmod(round(amount), 60)
        return f"{minutes:,} min {rest} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount * 1e6:.3g} µs" if amount > 0 else "0 s"


def count(amount: float) -> str:
    """A number, with commas between the thousands."""
    return f"{amount:,.0f}"


def times(amount: int, what: str) -> str:
    """`1 load`, `2 loads`."""
    return f"{count(amount)} {what}{'' if amount == 1 else 's'}"


def dollars(amount: Decimal) -> str:
    """US dollars: cents where there are many, and two digits that are not 0 where there are few."""
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    whole, _, digits = f"{amount:.{max(2, 1 - amount.adjusted())}f}".partition(".")
    return f"${whole}.{digits.rstrip('0'):0<2}"
