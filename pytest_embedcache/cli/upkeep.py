"""`embedcache prune|clear`: removing vectors."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.options import add_directory, amount, byte_count, redis_of, store_of
from pytest_embedcache.cli.stats import size
from pytest_embedcache.errors import ModelNotFoundError, SnapshotError
from pytest_embedcache.fingerprint import fingerprint_of
from pytest_embedcache.snapshot import repository_of
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.vectors.sqlite_upkeep import ModelUse

__all__ = ["add_commands"]

#: Of a fingerprint, as many digits as a person may give.
_SHORTEST = 8


def add_commands(commands: Any) -> None:
    """Add the commands to argparse's subparsers."""
    prune = commands.add_parser("prune", help="remove what has expired or is above the bound")
    prune.add_argument("--older-than", type=amount, metavar="DAYS", help="also what is older")
    prune.add_argument(
        "--max-size", type=byte_count, metavar="BYTES", help="as if this were the bound"
    )
    add_directory(prune)
    prune.set_defaults(run=_prune)

    clear = commands.add_parser("clear", help="remove a model's vectors, or all")
    clear.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a name, short or full, a directory, or 8 digits or more of a fingerprint "
        "(default: all models)",
    )
    clear.add_argument("--redis", action="store_true", help="in the shared Redis as well")
    add_directory(clear)
    clear.set_defaults(run=_clear)


def _prune(options: argparse.Namespace) -> int:
    bounds: dict[str, Any] = {}
    if options.max_size is not None:
        bounds["max_bytes"] = options.max_size
    store = store_of(options, **bounds)
    if not store.path.exists():
        print("nothing is stored")
        return 0
    removed = store.prune()
    if options.older_than is not None:
        older = store_of(options, **bounds, ttl=options.older_than * 86400)
        removed += older.prune()
        older.close()
    freed = store.vacuum()
    store.close()
    print(f"removed {removed} vectors, freed {size(freed)}")
    return 0


def _clear(options: argparse.Namespace) -> int:
    store = store_of(options)
    redis = redis_of(options)
    exists = store.path.exists()
    if not exists:
        print("nothing is stored")
    if exists or (redis is not None and options.redis):
        stored = store.models() if exists else []
        named: Iterable[str | None] = [None]
        if options.model is not None:
            named = _fingerprints(options, stored)
        if exists:
            removed = sum(map(store.clear, named))
            store.vacuum()
            store.close()
            print(f"removed {removed} vectors")
        if redis is not None and options.redis:
            print(f"removed {sum(map(redis.clear, named))} vectors from Redis")
    if redis is not None:
        if not options.redis:
            print(f"Redis at {redis.location} keeps its own; with --redis they go for all machines")
        redis.close()
    return 0


def _fingerprints(options: argparse.Namespace, stored: list[ModelUse]) -> list[str]:
    """Of all that is stored under the name, of whatever revision, and of the model as it is here.

    Raises `ModelNotFoundError` for a name that means nothing, or more than one model.
    """
    name = options.model
    spec = ModelSpec(name)
    real = os.path.realpath(os.path.expanduser(name))
    fingerprints = [u.fingerprint for u in stored if u.label in (name, repository_of(name), real)]
    with contextlib.suppress(ModelNotFoundError, SnapshotError):
        fingerprints.append(fingerprint_of(spec, cache_dir=options.dir).digest)
    if not fingerprints:  # nothing is called exactly that
        found = [use for use in stored if (use.label or "").rpartition("/")[2] == name]
        if len({use.label for use in found}) > 1:
            raise _ambiguous(name, (str(use.label) for use in found))
        fingerprints = [use.fingerprint for use in found]
    if not fingerprints and len(name) >= _SHORTEST:
        fingerprints = [u.fingerprint for u in stored if u.fingerprint.startswith(name.lower())]
        if len(fingerprints) > 1:
            raise _ambiguous(name, fingerprints)
    if not fingerprints:
        known = ", ".join(use.label or use.fingerprint[:16] for use in stored) or "nothing"
        raise ModelNotFoundError(name, "nothing is stored under that name", f"Stored is: {known}.")
    return list(dict.fromkeys(fingerprints))


def _ambiguous(name: str, meant: Iterable[str]) -> ModelNotFoundError:
    choices = ", ".join(dict.fromkeys(meant))
    return ModelNotFoundError(
        name, "several stored models are called that", f"Give one of: {choices}."
    )
