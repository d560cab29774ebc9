"""Texts of every kind."""

from __future__ import annotations

__all__ = ["LONG", "TEXTS", "UNICODE"]

TEXTS = ["a cat", "two kittens", "quarterly revenue", "how do I reset my password?", "7"]
#: Emoji of several code points, marks that combine, both directions, scripts without spaces,
#: characters outside the basic plane, controls, a byte order mark.
UNICODE = [
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "e\u0301 \u00e9 \u1e9b\u0323",
    "مرحبا بالعالم",
    "שלום עולם",
    "日本語の文章です",
    "ภาษาไทย",
    "привет мир",
    "𠮷 \U0001d573\U0001d58a",
    "a\x00b \x1b[0m \u200b\u202e",
    "\ufeffmark",
    "İstanbul ẞ ﬃ",
    " \t\n ",
]
LONG = "All work and no play makes a model a dull model. " * 2000
