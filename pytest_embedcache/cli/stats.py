"""`embedcache stats`: what is stored, and what it was good for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.options import add_directory, add_json, redis_of, store_of

if TYPE_CHECKING:
    from pytest_embedcache.vectors.history import Past
    from pytest_embedcache.vectors.sqlite_upkeep import ModelUse

__all__ = ["add_command", "resident", "size"]


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    stats = commands.add_parser("stats", help="show what is stored")
    stats.add_argument("--memory", action="store_true", help="also the memory of reading it")
    add_json(stats)
    add_directory(stats)
    stats.set_defaults(run=_stats)


def _stats(options: argparse.Namespace) -> int:
    shown = _machine(options)
    redis = redis_of(options)
    shown["redis"] = None
    if redis is not None:
        found = redis.stats()
        shown["redis"] = {"entries": found.entries, "bytes": found.bytes, **found.details}
        redis.close()
    if options.memory:
        shown["memory_bytes"] = resident()
    print(json.dumps(shown, indent=2) if options.json else "\n".join(_lines(shown)))
    return 0


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    from pytest_embedcache.vectors import history

    store = store_of(options)
    shown: dict[str, Any] = {"path": str(store.path), "entries": 0, "bytes": 0, "file_bytes": 0}
    if not store.path.exists():  # looking makes no store
        return shown | {"models": []}
    found = store.stats()
    past = history.read(store.path.parent)
    shown |= {"entries": found.entries, "bytes": found.bytes, **found.details}
    shown["models"] = [_model(use, past.get(use.label or "")) for use in store.models()]
    store.close()
    return shown


def _model(use: ModelUse, past: Past | None) -> dict[str, Any]:
    return {
        "model": use.label,
        "fingerprint": use.fingerprint,
        "entries": use.entries,
        "bytes": use.bytes,
        "asked": past.asked if past else 0,
        "found": past.found if past else {},
        "computed": past.computed if past else 0,
        "hit_rate": past.hit_rate if past else None,
    }


def _lines(shown: dict[str, Any]) -> Iterator[str]:
    yield f"{shown['path']}: {shown['entries']} vectors, {size(shown['bytes'])}"
    for model in shown["models"]:
        rate = "no reads yet" if model["hit_rate"] is None else f"{model['hit_rate']:.1%} found"
        name = model["model"] or f"model {model['fingerprint'][:16]}"
        yield f"  {name}: {model['entries']} vectors, {size(model['bytes'])}, {rate}"
    if shown["redis"] is not None:
        yield from _redis_lines(shown["redis"])
    if "memory_bytes" in shown:
        yield f"memory of this process: {size(shown['memory_bytes'])}"


def _redis_lines(redis: dict[str, Any]) -> Iterator[str]:
    if "error" in redis:
        yield f"Redis at {redis['location']} is away: {redis['error']}"
        return
    more = "" if redis["counted_all"] else " at least"
    days = redis["cache_ttl_days"]
    life = "for ever" if days is None else f"for {days:g} days"
    yield (
        f"Redis at {redis['location']}:{more} {redis['entries']} vectors, {size(redis['bytes'])}, "
        f"kept {life}; the server uses {size(redis['redis_memory_used'])}"
    )


def resident() -> int | None:
    """Bytes that this process held in memory at most, None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def size(count: int | None) -> str:
    """Bytes, for people."""
    if count is None:
        return "unknown"
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
