"""How far a command is, on a terminal."""

from __future__ import annotations

import sys

__all__ = ["show"]


def show(done: int, total: int) -> None:
    """A bar on standard error, in the place of the last one; nothing where that is no terminal."""
    if sys.stderr.isatty():
        filled = 40 * done // total if total else 40
        bar = "#" * filled + "." * (40 - filled)
        print(f"\r[{bar}] {done}/{total}", end="\n" if done >= total else "", file=sys.stderr)
