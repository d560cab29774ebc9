"""The command `embedcache`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from pytest_embedcache.errors import EmbedCacheError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, 1 for an error it names, 2 for bad usage."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except EmbedCacheError as error:
        print(f"embedcache: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `embedcache … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embedcache", description=__doc__)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.add_argument(
        "--dir", help="the cache directory (default: EMBEDCACHE_DIR, or the user's)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    explain = commands.add_parser("explain", help="show what a model's fingerprint is made of")
    explain.add_argument("model", metavar="MODEL", help="a name on the Hub, or a directory")
    explain.add_argument("--revision", help="branch, tag or commit (default: main)")
    explain.add_argument("--dtype", help="as if it were loaded in this dtype")
    explain.add_argument("--trust-remote-code", action="store_true", help="as if its code ran")
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(run=_explain)

    where = commands.add_parser("where", help="print the cache directory")
    where.set_defaults(run=_where)
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


def _explain(options: argparse.Namespace) -> int:
    from pytest_embedcache.fingerprint import fingerprint_of
    from pytest_embedcache.snapshot import locate
    from pytest_embedcache.spec import ModelSpec

    spec = ModelSpec(
        options.model,
        revision=options.revision,
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
    )
    place = locate(spec)
    found = fingerprint_of(spec, cache_dir=options.dir)
    if options.json:
        shown = {
            "model": place.name,
            "commit": place.commit,
            "path": place.path,
            "fingerprint": found.digest,
            "source": found.source,
            "parts": [list(part) for part in found.parts],
        }
        print(json.dumps(shown, indent=2))
        return 0
    print(f"model        {place.name}")
    print(f"commit       {place.commit or '-'}")
    print(f"path         {place.path or '- (not on this machine)'}")
    print(f"fingerprint  {found.digest}")
    print(f"from         {found.source}")
    width = max(len(label) for label, _ in found.parts)
    for label, content in found.parts:
        print(f"  {label:<{width}}  {content[:16]}")
    return 0
