"""Names that tools ask every object for, and that are no reason to import or load anything."""

from __future__ import annotations

__all__ = ["is_probe"]

#: Of pytest, unittest.mock, asyncio, IPython.
_PREFIXES = ("_mock_", "_pytest", "pytest_", "pytestmark", "_is_coroutine", "_repr_", "_ipython_")


def is_probe(name: str) -> bool:
    """Whether a name is one of them; `inspect`, doctest and unittest ask for those in dunders."""
    return (name.startswith("__") and name.endswith("__")) or name.startswith(_PREFIXES)
