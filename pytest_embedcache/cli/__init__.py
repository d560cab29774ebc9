"""The command `embedcache`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from pytest_embedcache.cli import (
    doctor,
    explain,
    gate,
    models,
    profile,
    recordings,
    serve,
    stats,
    upkeep,
    warm,
)
from pytest_embedcache.cli.options import add_directory
from pytest_embedcache.errors import EmbedCacheError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    0; 1 for an error that it names, or something found wrong; 2 for bad usage, or where `gate` has
    nothing to judge; 130 where it was interrupted.
    """
    options = _parser().parse_args(arguments)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embedcache", description=__doc__)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    add_directory(parser, default=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    explain.add_command(commands)
    where = commands.add_parser("where", help="print the cache directory")
    add_directory(where)
    where.set_defaults(run=_where)
    stats.add_command(commands)
    models.add_command(commands)
    warm.add_commands(commands)
    upkeep.add_commands(commands)
    recordings.add_commands(commands)
    gate.add_command(commands)
    profile.add_command(commands)
    serve.add_command(commands)
    doctor.add_command(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"pytest-embedcache {version('pytest-embedcache')}")
        parser.exit()


def _where(options: argparse.Namespace) -> int:
    from pytest_embedcache.files import cache_directory

    print(cache_directory(options.dir))
    return 0
