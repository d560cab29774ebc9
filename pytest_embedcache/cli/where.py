"""`embedcache where`: the cache directory."""

from __future__ import annotations

import argparse
from typing import Any

from pytest_embedcache.cli.options import add_directory

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    where = commands.add_parser("where", help="print the cache directory")
    add_directory(where)
    where.set_defaults(run=_where)


def _where(options: argparse.Namespace) -> int:
    from pytest_embedcache.files import cache_directory

    print(cache_directory(options.dir))
    return 0
