"""The command `embedcache`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from pytest_embedcache.cli.options import add_directory
from pytest_embedcache.errors import EmbedCacheError

__all__ = ["main"]

#: Module -> the commands that it has, in the order of the help. One that is named first on the
#: line is imported alone: a search is to answer before the others would be read.
_COMMANDS = {
    "explain": ("explain",),
    "where": ("where",),
    "stats": ("stats",),
    "models": ("models",),
    "warm": ("warm", "verify"),
    "upkeep": ("prune", "clear"),
    "index": ("index",),
    "recordings": ("recordings",),
    "gate": ("gate",),
    "profile": ("profile",),
    "serve": ("serve",),
    "host": ("host",),
    "doctor": ("doctor",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    0; 1 for an error that it names, or something found wrong; 2 for bad usage, or where `gate` has
    nothing to judge; 130 where it was interrupted.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(given[0] if given else None).parse_args(given)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        status = command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `embedcache … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (EmbedCacheError, OSError) as error:
        print(f"embedcache: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("embedcache: interrupted; what is stored stays", file=sys.stderr)
        return 130
    return status


def _parser(first: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embedcache", description=__doc__)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    add_directory(parser, default=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    named = [module for module, names in _COMMANDS.items() if first in names]
    for module in named or _COMMANDS:
        home = import_module(f"pytest_embedcache.cli.{module}")
        add = getattr(home, "add_command", None) or home.add_commands
        add(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"pytest-embedcache {version('pytest-embedcache')}")
        parser.exit()
