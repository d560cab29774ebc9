"""`embedcache profile`: what a model costs before its first vector, and after."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache.cli.options import DEFAULT_MODEL, add_directory, add_spec, rounds
from pytest_embedcache.models.strategies import STRATEGIES, default_strategy, strategy_named

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    profile = commands.add_parser("profile", help="measure import, load and vectors of a model")
    model = os.environ.get("EMBEDCACHE_MODEL") or DEFAULT_MODEL
    device = os.environ.get("EMBEDCACHE_DEVICE") or "cpu"
    profile.add_argument(
        "model",
        nargs="?",
        default=model,
        metavar="MODEL",
        help="default: EMBEDCACHE_MODEL, or %(default)s",
    )
    profile.add_argument("--device", default=device, help="default: EMBEDCACHE_DEVICE, or cpu")
    profile.add_argument(
        "--strategy", choices=tuple(STRATEGIES), help="default: EMBEDCACHE_STRATEGY, or lazy"
    )
    profile.add_argument(
        "--rounds", type=rounds, default=5, metavar="N", help="processes (default: %(default)s)"
    )
    profile.add_argument("--json", metavar="PATH", help="write a file for `embedcache gate`")
    add_spec(profile)
    add_directory(profile)
    profile.set_defaults(run=_profile)


def _profile(options: argparse.Namespace) -> int:
    from pytest_embedcache.cli.options import spec_of
    from pytest_embedcache.testing.speedup.profile import profile_model

    named = options.strategy
    strategy = default_strategy(options.model) if named is None else strategy_named(named)
    spec = spec_of(options).replace(backend=strategy.backend, form=strategy.form)
    found = profile_model(spec, strategy.name, rounds=options.rounds, directory=options.dir)
    print("\n".join(_lines(found)))
    if options.json is not None:
        text = json.dumps(found, indent=2, sort_keys=True) + "\n"
        Path(options.json).write_text(text, encoding="utf-8")
    return 0


def _lines(found: dict[str, Any]) -> Iterator[str]:
    from pytest_embedcache.testing.speedup.result import seconds_text

    stages = found["stages"]
    count = len(stages["import"]["seconds"])
    yield (
        f"{found['model']} on {found['device'] or 'the best device'}, {found['strategy']} "
        f"({found['backend']}, {found['form']}): medians of {count} fresh processes"
    )
    for stage, seen in stages.items():
        least, most = min(seen["seconds"]), max(seen["seconds"])
        yield (
            f"  {stage:<12}  {seconds_text(seen['median']):>8}  "
            f"({seconds_text(least)} to {seconds_text(most)})"
        )
